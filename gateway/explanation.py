"""What REST says about placements: where pipelines go, why, and why not."""

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict, Field

from gamepipe.model.state import PipelineState
from gateway import turn
from gateway.forecast_view import CHOICE, REFUSAL, ChoiceView, PlanView, RefusalView
from gateway.planning import Waiting, Why
from gateway.turn import TurnView
from gateway.view import StepView, View

_GENERATION: dict[str, Any] = {
    "number": 1,
    "node_id": "n1",
    "placed_at": "2026-11-24T10:00:00Z",
    "released_at": "2026-11-24T10:09:00Z",
    "explanation": CHOICE,
    "preempted_for": "",
    "steps": [],
}


_PLACED: dict[str, Any] = {
    "state": "completed",
    "node_id": "n1",
    "generations": [_GENERATION],
    "waiting": False,
}
_WAITING: dict[str, Any] = REFUSAL | {
    "state": "pending",
    "node_id": "",
    "generations": [],
    "waiting": True,
    "queued_at": "2026-11-24T10:00:00Z",
    "reason": "NO_CAPACITY",
    "priority": 0,
    "position": 1,
    "queue_length": 3,
    "turn": turn.EXAMPLE,
    "fits": "",
    "making_room": [{"pipeline_id": "p7", "generation": 1, "node_id": "n1"}],
}


class GenerationView(View):
    """One placement, with the steps that ran under it."""

    number: int
    node_id: str
    placed_at: datetime
    released_at: datetime | None
    explanation: ChoiceView | None = Field(
        description="How its node was chosen; null where that was not kept."
    )
    preempted_for: str = Field(
        default="", description="Id of the pipeline of a higher class that it made room for."
    )
    steps: tuple[StepView, ...]


class MakingRoomView(View):
    """A pipeline of a lower class that was asked to make room, and has yet to leave."""

    pipeline_id: str
    generation: int
    node_id: str


class WhereView(View):
    """Where a pipeline runs, or its place in the queue."""

    state: PipelineState
    node_id: str
    generations: tuple[GenerationView, ...] = Field(description="Every placement, by number.")
    waiting: bool
    queued_at: datetime | None = None
    reason: str = Field(
        default="",
        description="NO_CAPACITY, or LIMIT_REACHED: then the summary has the limit, and the nodes "
        "are not why.",
    )
    priority: int | None = Field(default=None, description="Its class in the queue.")
    position: int | None = Field(
        default=None,
        description="From 1, by the order in which the queue is served; `turn` tells how.",
    )
    queue_length: int | None = None
    turn: TurnView | None = None
    fits: str = Field(
        default="", description="Id of a node that fits now: it waits for its turn only."
    )
    making_room: tuple[MakingRoomView, ...] = Field(
        default=(), description="Pipelines that it preempts: it waits until they have left."
    )
    plan: PlanView | None = Field(
        default=None,
        description="Of one that has not asked for a node yet: what would become of it now.",
    )


class PlacementView(RefusalView, WhereView):
    """Where a pipeline runs and why there, or why it waits."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                _PLACED,
                _WAITING,
            ]
        },
    )

    @classmethod
    def of(cls, why: Why, *, verdicts: int) -> Self:
        waiting = why.waiting
        return cls(
            state=why.record.state,
            node_id=why.record.node_id,
            generations=tuple(GenerationView.model_validate(one) for one in why.generations),
            waiting=waiting is not None,
            plan=PlanView.of(why.plan, verdicts=verdicts) if why.plan else None,
            **(_waits(waiting, verdicts) if waiting else {}),
        )


def _waits(waiting: Waiting, verdicts: int) -> dict[str, Any]:
    forecast, entry = waiting.forecast, waiting.entry
    refused = forecast.refused
    return RefusalView.said(refused, verdicts) | {
        "queued_at": entry.queued_at,
        "reason": refused.reason if refused else entry.reason,
        "priority": entry.priority,
        "position": forecast.turn.position if forecast.turn else None,
        "queue_length": forecast.queue_length,
        "turn": TurnView.model_validate(forecast.turn) if forecast.turn else None,
        "fits": forecast.placed[0].node_id if forecast.placed else "",
        "making_room": tuple(MakingRoomView.model_validate(one) for one in waiting.making_room),
    }
