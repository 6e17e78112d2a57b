"""Pipelines that may be preempted, and what becomes of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from gamepipe.model.spec import PlacementRequest
from gamepipe.model.state import PipelineState
from gamepipe.ports import Notice
from gamepipe.wire import PlaceAnswer, PlaceStatus, RoomAsked, WithdrawRequest
from store.store import GamePipelineStore
from tests.store.conftest import NOW
from tests.store.shapes import LIFE, new, place_request, registration, save_request

PREEMPTIBLE = PlacementRequest(preemptible=True)


LATER = NOW + timedelta(minutes=1)


async def submit(store: GamePipelineStore, name: str, at: Any = NOW, **spec: Any) -> PlaceAnswer:
    await store.pipelines.add(new(name, **spec), now=at)
    return await store.placements.place(place_request(name), now=at)


async def full(store: GamePipelineStore, *names: str) -> None:
    """A node with a core for each of these, which run there and may be preempted."""
    await store.nodes.register(registration("n1", cpu=len(names)), now=NOW)
    for number, name in enumerate(names):
        answer = await submit(store, name, NOW + timedelta(seconds=number), placement=PREEMPTIBLE)
        assert answer.status is PlaceStatus.PLACED


async def leave(
    store: GamePipelineStore,
    name: str,
    state: PipelineState = PipelineState.RUNNING,
    revision: int = 3,
) -> tuple[Notice, ...]:
    """It gives its place back, and will wait in another generation unless it ended."""
    request = save_request(name, revision, state, node_id="n1", release=True)
    _, notices = await store.pipelines.save(request, now=LATER)
    return notices


async def come_back(
    store: GamePipelineStore, name: str, revision: int, *, generation: int
) -> PlaceAnswer:
    """It asks for its next placement."""
    plain = place_request(name, revision=revision)
    request = replace(
        plain,
        generation=generation,
        saved=replace(plain.saved, generation=generation),
        placed=replace(plain.placed, generation=generation),
    )
    return await store.placements.place(request, now=LATER)


def room(name: str, for_pipeline: str) -> RoomAsked:
    return RoomAsked(pipeline_id=name, generation=1, node_id="n1", for_pipeline=for_pipeline)


def withdrawal(name: str) -> WithdrawRequest:
    return WithdrawRequest(pipeline_id=name, incarnation=LIFE, generation=1)
