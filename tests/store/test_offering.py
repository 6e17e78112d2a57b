"""Offers that nobody took before their node stopped taking anything new."""

from datetime import timedelta

import pytest

from gamepipe.model.state import NodeState
from gamepipe.ports import NodeChange
from gamepipe.wire import PlaceStatus
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request, registration


async def offered(store: GamePipelineStore) -> None:
    """`second` and `third` wait behind `first`; `second` was offered what `first` released."""
    await store.nodes.register(registration("n1", cpu=1), now=NOW)
    for number, name in enumerate(("first", "second", "third")):
        at = NOW + timedelta(seconds=number)
        await store.pipelines.add(new(name), now=at)
        await store.placements.place(place_request(name), now=at)
    (offer,) = await store.placements.release("first", 1, now=NOW + timedelta(minutes=1))
    assert offer.pipeline_id == "second"


@pytest.mark.parametrize("state", [NodeState.DISABLED, NodeState.MAINTENANCE])
async def test_they_go_back_to_their_old_place_in_the_queue(
    store: GamePipelineStore, state: NodeState
) -> None:
    await offered(store)
    await store.nodes.update("n1", NodeChange(state=state), now=NOW)
    assert await store.placements.untaken_offers() == ()
    assert [entry.pipeline_id for entry in await store.placements.queue()] == ["second", "third"]
    late = await store.placements.place(place_request("second", revision=3), now=NOW)
    assert late.status is PlaceStatus.QUEUED
    await store.nodes.register(registration("n2", cpu=1), now=NOW)
    (offer,) = await store.placements.offer(now=NOW)
    assert (offer.pipeline_id, offer.node_id) == ("second", "n2")


async def test_what_was_taken_stays(store: GamePipelineStore) -> None:
    await offered(store)
    taken = await store.placements.place(place_request("second", revision=3), now=NOW)
    await store.nodes.update("n1", NodeChange(state=NodeState.DISABLED), now=NOW)
    again = await store.placements.place(place_request("second", revision=3), now=NOW)
    assert (again.status, again.placement) == (PlaceStatus.PLACED, taken.placement)
    assert await store.placements.live_pipelines_on("n1") == (("second", 1),)
