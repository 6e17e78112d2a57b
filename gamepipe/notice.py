"""Telling workflows about offers, and those that are to make room; gateway and worker share it, it
needs only a client."""

from collections.abc import Iterable

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from gamepipe.wire import Notice, Offer, Preempt, RoomAsked, workflow_id

_log = structlog.get_logger()


class NoticeSender:
    """Signals `offer_placement` and `preempt`. One that fails is logged: the sweep sends it
    again."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, notices: Iterable[Notice]) -> None:
        """One signal for each; repeats are harmless, and so is one for a run that is over."""
        for notice in notices:
            if isinstance(notice, RoomAsked):
                await self._ask_for_room(notice)
            else:
                await self.ask_again(notice.pipeline_id, notice.generation)

    async def _ask_for_room(self, asked: RoomAsked) -> None:
        order = Preempt(generation=asked.generation, for_pipeline=asked.for_pipeline)
        await self._signal(asked.pipeline_id, "preempt", order)
        _log.info(
            "preemption.asked",
            action="preemption.asked",
            pipeline_id=asked.pipeline_id,
            node_id=asked.node_id,
            for_pipeline=asked.for_pipeline,
        )

    async def ask_again(self, pipeline_id: str, generation: int) -> None:
        """Make the run ask for its placement once more: with or without an offer, the answer
        tells it what changed."""
        await self._signal(pipeline_id, "offer_placement", Offer(generation=generation))

    async def _signal(self, pipeline_id: str, name: str, message: Offer | Preempt) -> None:
        handle = self._client.get_workflow_handle(workflow_id(pipeline_id))
        try:
            await handle.signal(name, message)
        except (RPCError, RuntimeError) as error:  # RuntimeError: no connection was ever made
            _log.warning(
                "notice.failed",
                action="notice.failed",
                pipeline_id=pipeline_id,
                signal=name,
                error=str(error),
            )
