"""The book of one pipeline run: its states, what changed since the last save, its events.

Pure: the workflow tells it what happened and when; it holds every state to the legal transitions
and hands out what the store has not acknowledged yet.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from gamepipe.model import reason as reasons
from gamepipe.model.changelog import ChangeLog, Unsaved
from gamepipe.model.errors import IllegalTransition
from gamepipe.model.record import EventKind, Instance, Progress, StepRecord
from gamepipe.model.spec import PipelineSpec
from gamepipe.model.state import InstanceState, PipelineState, StepState


@dataclass(frozen=True, kw_only=True, slots=True)
class BookState:
    """A book that a run hands to the next when it continues as new."""

    state: PipelineState
    reason: str
    message: str
    generation: int
    last_event: int
    started_at: datetime | None
    steps: tuple[StepRecord, ...]
    instances: tuple[Instance, ...]


class RunBook:
    """State of one run. `now` gives the time of each event (the workflow's clock)."""

    def __init__(self, spec: PipelineSpec, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self.state = PipelineState.NOT_STARTED
        self.reason = ""
        self.message = ""
        self.generation = 0
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.steps: list[StepRecord] = []
        self.instances: dict[str, Instance] = {}
        self._changes = ChangeLog(now=now)
        self.define(spec)

    def define(self, spec: PipelineSpec) -> None:
        """Take a (changed) definition; only before anything was placed."""
        self.spec = spec
        self.steps = [
            StepRecord(index=step.index, name=step.name, generation=max(self.generation, 1))
            for step in spec.steps
        ]

    def snapshot(self) -> BookState:
        """What the next run needs; take it only when everything is saved."""
        return BookState(
            state=self.state,
            reason=self.reason,
            message=self.message,
            generation=self.generation,
            last_event=self._changes.last_event,
            started_at=self.started_at,
            steps=tuple(self.steps),
            instances=tuple(self.instances.values()),
        )

    def restore(self, before: BookState) -> None:
        """Go on where the run before this one stopped."""
        self.state, self.reason, self.message = before.state, before.reason, before.message
        self.generation, self._changes.last_event = before.generation, before.last_event
        self.started_at = before.started_at
        self.steps = list(before.steps)
        self.instances = {instance.id: instance for instance in before.instances}

    # --- the pipeline ---------------------------------------------------------------------------

    def become(
        self,
        state: PipelineState,
        reason: str = "",
        message: str = "",
        *,
        new_generation: bool = False,
    ) -> None:
        """Change the pipeline's state; raises `IllegalTransition`."""
        if not self.state.may_become(state, new_generation=new_generation):
            raise IllegalTransition(f"a pipeline cannot go from {self.state} to {state}")
        before, self.state, self.reason, self.message = self.state, state, reason, message
        if self.started_at is None:
            self.started_at = self._now()
        if state.is_terminal:
            self.ended_at = self._now()
        self._record_pipeline(before)

    def preview_running(self) -> None:
        """Write down the event of `pending -> running` before the store decided about it.

        `confirm_running` makes it true; `forget_running` gives its number back.
        """
        self._changes.record(
            EventKind.PIPELINE_STATE_CHANGED,
            previous=self.state.value,
            state=PipelineState.RUNNING.value,
            reason="",
            message="",
            generation=self.generation,
        )

    def confirm_running(self) -> None:
        self.state, self.reason, self.message = PipelineState.RUNNING, "", ""

    def forget_running(self, summary: str, reason: str = reasons.NO_CAPACITY) -> None:
        """No room: the store keeps `summary` as the message while the pipeline waits."""
        self._changes.give_back_number()
        self.reason, self.message = reason, summary

    def explain(self, reason: str, message: str) -> None:
        """Change reason and message only (CANCELING, WAITING_FOR_NODE)."""
        if (reason, message) != (self.reason, self.message):
            self.reason, self.message = reason, message
            self._record_pipeline(self.state)

    def start_generation(self) -> None:
        """Begin the next placement: every step is pending again. Its first one says nothing."""
        self.generation += 1
        if self.generation == 1:
            return
        self.steps = [
            StepRecord(index=step.index, name=step.name, generation=self.generation)
            for step in self.steps
        ]
        self._changes.touch_steps(range(len(self.steps)))
        self._changes.record(EventKind.GENERATION_STARTED, generation=self.generation)

    # --- steps ----------------------------------------------------------------------------------

    def dispatch_step(self, index: int, *, attempt: int, dispatch: int) -> None:
        """Note which attempt and dispatch is out; no event, it is saved with the next change."""
        step = self.steps[index]
        ended_at = step.ended_at if attempt == step.attempt else None
        self._put(replace(step, attempt=attempt, dispatch=dispatch, ended_at=ended_at))

    def run_step(self, index: int, *, attempt: int, at: datetime) -> None:
        """The attempt runs. Repeats are harmless."""
        step = self.steps[index]
        if step.state is StepState.RUNNING:
            return
        self._change_step(
            index,
            StepState.RUNNING,
            attempt=attempt,
            started_at=at,
            ended_at=None,
            exit_code=None,
            percent=None,
            reason="",
            message="",
        )

    def progress_step(
        self, index: int, *, percent: float | None, message: str, outputs: Mapping[str, str]
    ) -> None:
        """`outputs` are new ones. With neither percent nor message, the last ones stand, and so
        does the last percent where the new one is none of 0 to 100."""
        step = self.steps[index]
        if step.state is not StepState.RUNNING:
            return
        if percent is not None and not 0.0 <= percent <= 100.0:
            percent = step.percent if message else None
        if percent is None and not message:
            percent, message = step.percent, step.message
        known = {**step.outputs, **outputs}
        self._put(replace(step, percent=percent, message=message, outputs=known))
        self._changes.record(
            EventKind.STEP_PROGRESSED,
            **self._step_facts(self.steps[index]),
            percent=percent,
            message=message,
        )

    def end_step(self, index: int, state: StepState, **changes: Any) -> None:
        """End a step (completed, failed or skipped); `changes` are fields of `StepRecord`."""
        if state is StepState.COMPLETED:
            changes.setdefault("percent", 100.0)
        changes.setdefault("ended_at", self._now())
        self._change_step(index, state, **changes)

    def end_attempt(self, index: int, *, reason: str, message: str, exit_code: int | None) -> None:
        """An attempt failed and another follows: `running -> pending`."""
        step, ended_at = self.steps[index], self._now()
        self._changes.record(
            EventKind.ATTEMPT_ENDED,
            **self._step_facts(step),
            reason=reason,
            message=message,
            exit_code=exit_code,
        )
        if step.state is StepState.RUNNING:
            self._change_step(
                index, StepState.PENDING, reason=reason, message=message, ended_at=ended_at
            )
        else:
            self._put(replace(step, reason=reason, message=message, ended_at=ended_at))

    def _change_step(self, index: int, state: StepState, **changes: Any) -> None:
        before = self.steps[index]
        if not before.state.may_become(state):
            raise IllegalTransition(
                f"step {before.name!r} cannot go from {before.state} to {state}"
            )
        if state is not StepState.COMPLETED:
            changes.setdefault("outputs", {})  # what was written so far counts for nobody
        step = replace(before, state=state, **changes)
        self._put(step)
        self._changes.record(
            EventKind.STEP_STATE_CHANGED,
            **self._step_facts(step),
            previous=before.state.value,
            state=state.value,
            reason=step.reason,
            message=step.message,
            exit_code=step.exit_code,
        )

    def _put(self, step: StepRecord) -> None:
        self.steps[step.index] = step
        self._changes.touch_steps((step.index,))

    # --- instances ------------------------------------------------------------------------------

    def add_instance(self, instance: Instance) -> None:
        self.instances[instance.id] = instance
        self._changes.touch_instance(instance.id)

    def end_instance(self, instance_id: str, *, state: InstanceState, reason: str) -> None:
        ended = replace(
            self.instances[instance_id], state=state, reason=reason, ended_at=self._now()
        )
        self.add_instance(ended)

    def live_instances(self) -> Iterable[Instance]:
        return [i for i in self.instances.values() if not i.state.is_terminal]

    # --- reading --------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """Steps ended, running and in all; a running step counts by its own percent."""
        ended = sum(step.state.is_terminal for step in self.steps)
        running = [step for step in self.steps if step.state is StepState.RUNNING]
        partial = sum((step.percent or 0.0) / 100 for step in running)
        total = len(self.steps)
        percent = 100.0 * (ended + partial) / total if total else 100.0
        return Progress(
            ended=ended,
            total=total,
            current=tuple(step.name for step in running),
            percent=round(min(percent, 100.0), 1),
        )

    def failed_steps(self) -> list[StepRecord]:
        """Failed steps that the pipeline does not tolerate."""
        return [
            record
            for record, step in zip(self.steps, self.spec.steps, strict=True)
            if record.state is StepState.FAILED and not step.continue_on_error
        ]

    # --- saving ---------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether anything changed since the last take."""
        return self._changes.dirty

    def take_unsaved(self) -> Unsaved:
        """Everything since the last take; the taker hands it to the store until it is stored."""
        return self._changes.take(self.steps, self.instances)

    def _record_pipeline(self, before: PipelineState) -> None:
        self._changes.record(
            EventKind.PIPELINE_STATE_CHANGED,
            previous=before.value,
            state=self.state.value,
            reason=self.reason,
            message=self.message,
            generation=self.generation,
        )

    @staticmethod
    def _step_facts(step: StepRecord) -> dict[str, Any]:
        return {
            "step": step.name,
            "index": step.index,
            "generation": step.generation,
            "attempt": step.attempt,
        }
