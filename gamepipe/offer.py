"""Telling workflows about offers; gateway and worker share it, it needs only a client."""

from collections.abc import Iterable

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from gamepipe.ports import OfferMade
from gamepipe.wire import Offer, workflow_id

_log = structlog.get_logger()


class OfferSender:
    """Signals `offer_placement`. A signal that fails is logged: the sweep sends it again."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, offers: Iterable[OfferMade]) -> None:
        """One signal per offer; repeats are harmless."""
        for offer in offers:
            await self.ask_again(offer.pipeline_id, offer.generation)

    async def ask_again(self, pipeline_id: str, generation: int) -> None:
        """Make the run ask for its placement once more: with or without an offer, the answer
        tells it what changed."""
        handle = self._client.get_workflow_handle(workflow_id(pipeline_id))
        try:
            await handle.signal("offer_placement", Offer(generation=generation))
        except (RPCError, RuntimeError) as error:  # RuntimeError: no connection was ever made
            _log.warning(
                "offer.signal_failed",
                action="offer.signal_failed",
                pipeline_id=pipeline_id,
                error=str(error),
            )
