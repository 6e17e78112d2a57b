"""What a placement makes unusable: of one node, of many, and what it cannot be less than."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.model.node import GameNode
from gamepipe.scheduling import fragmentation
from gamepipe.scheduling.choose import Choice, Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.mix import learned
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Capacity
from gamepipe.scheduling.room import Room, Rooms
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import Numbers
from gamepipe.simulation.fleet import made_nodes, made_requests
from gamepipe.simulation.replay import held
from gamepipe.simulation.task import task_of
from tests.scheduling import worlds


def _filled(snapshot: Snapshot, needs: list[Need]) -> None:
    chooser = Chooser(snapshot)
    for number, need in enumerate(needs):
        choice = chooser.choose(need)
        if isinstance(choice, Choice):
            snapshot.fleet.hold(held(f"p{number}", task_of(need), choice))


def _growths(snapshot: Snapshot, room: Room, one_by_one: int) -> Numbers:
    """Of the nodes that fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fragmentation, "ONE_BY_ONE", one_by_one)
        fresh = fragmentation.Fragmentation(snapshot.profile, snapshot.fleet)
        return fresh.growth(room.resources, np.flatnonzero(room.fits))


def _check(snapshot: Snapshot, needs: list[Need]) -> None:
    rooms = Rooms(snapshot)
    for need in needs:
        room = rooms.of(need.resources)
        as_columns = _growths(snapshot, room, 0)
        assert _growths(snapshot, room, 10_000).tolist() == as_columns.tolist()
        assert (as_columns >= room.growth[room.fits]).all(), "what it is at least"
        devices, rows = snapshot.fleet.devices, np.flatnonzero(room.fits)
        picked, _ = devices.picked(need.resources.gpu, rows)
        most = devices.most_taken(need.resources.gpu)
        assert (devices.taken(need.resources.gpu, picked, rows) <= most + 1e-5).all()


@settings(max_examples=200, deadline=None)
@given(nodes=worlds.nodes, needs=worlds.needs, capacity=worlds.capacity)
def test_one_node_by_itself_is_weighed_exactly_as_among_many(
    nodes: list[GameNode], needs: list[Need], capacity: Capacity
) -> None:
    profile = learned([need.resources for need in needs]).profile
    snapshot = Snapshot(fleet=Fleet(nodes, capacity=capacity), profile=profile)
    _filled(snapshot, needs)
    _check(snapshot, needs)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1_000))
def test_it_is_so_in_fleets_and_work_as_they_are(seed: int) -> None:
    nodes = made_nodes(30, seed)
    needs = [made.task.need for made in made_requests(nodes, 120, 1.0, seed)]
    profile = learned([need.resources for need in needs]).profile
    snapshot = Snapshot(fleet=Fleet(nodes), profile=profile)
    _filled(snapshot, needs)
    _check(snapshot, needs[:20])
