"""Telling workflows about offers, and those that are to make room; gateway and worker share it, it
needs only a client."""

from collections.abc import Iterable

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from gamepipe.ports import OfferMade
from gamepipe.wire import Offer, Preempt, RoomAsked, workflow_id

_log = structlog.get_logger()


class OfferSender:
    """Signals `offer_placement` and `preempt`. One that fails is logged: the sweep sends it
    again."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, offers: Iterable[OfferMade]) -> None:
        """One signal per offer; repeats are harmless."""
        for offer in offers:
            await self.ask_again(offer.pipeline_id, offer.generation)

    async def ask_for_room(self, asked: Iterable[RoomAsked]) -> None:
        """Signal `preempt` to each; repeats are harmless, and so is one for a run that is over."""
        for one in asked:
            order = Preempt(generation=one.generation, for_pipeline=one.for_pipeline)
            await self._signal(one.pipeline_id, "preempt", order)
            _log.info(
                "preemption.asked",
                action="preemption.asked",
                pipeline_id=one.pipeline_id,
                node_id=one.node_id,
                for_pipeline=one.for_pipeline,
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
                "offer.signal_failed",
                action="offer.signal_failed",
                pipeline_id=pipeline_id,
                signal=name,
                error=str(error),
            )
