"""The workflow `DrainNode`: empties a node without breaking what runs there, up to a deadline."""

from datetime import datetime, timedelta
from typing import cast

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.wire import DRAIN_QUEUE
    from gamepipe.wire.drain import Drain, DrainLook, DrainProgress, DrainState, DrainWatch
    from workflows import policy
    from workflows.storing import ask_store


@workflow.defn(name="DrainNode")
class DrainNode:
    """Maintenance first, so that nothing new comes; then patience; then stops."""

    @workflow.init
    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._state = DrainState.DRAINING
        self._started_at = workflow.now()
        self._begun = False

    @workflow.run
    async def run(self, drain: Drain) -> DrainProgress:
        """Returns once the node is empty, or somebody set it back to normal."""
        recorded = workflow.patched("saves-are-recorded")
        await ask_store("begin_drain", drain, recorded=recorded)
        self._begun = True
        look = await self._watch(drain.deadline)
        if not look.is_over:
            self._state = DrainState.STOPPING
            await workflow.execute_activity(
                "stop_remaining",
                drain,
                start_to_close_timeout=timedelta(minutes=5),
                retry_policy=policy.DELIVER,
                summary=f"stop what still runs on {drain.node_id}"[:200],
            )
            look = await self._watch(None)
        self._state = DrainState.CALLED_OFF if look.called_off else DrainState.DRAINED
        return self.progress()

    @workflow.query(name="progress")
    def progress(self) -> DrainProgress:
        return DrainProgress(drain=self._drain, state=self._state, started_at=self._started_at)

    @workflow.update(name="begun")
    async def begun(self) -> None:
        """Returns once nothing new comes to the node."""
        await workflow.wait_condition(lambda: self._begun)

    async def _watch(self, until: datetime | None) -> DrainLook:
        look = await workflow.execute_activity(
            "watch_drain",
            DrainWatch(drain=self._drain, until=until),
            result_type=DrainLook,
            task_queue=DRAIN_QUEUE,
            start_to_close_timeout=policy.UNLIMITED,
            heartbeat_timeout=policy.WATCH_HEARTBEAT,
            retry_policy=policy.DELIVER,
            summary=f"wait for {self._drain.node_id} to empty"[:200],
        )
        return cast(DrainLook, look)
