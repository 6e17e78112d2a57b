"""Placing pipelines, and the fleet in memory beside what the database says."""

from sqlmodel import Session

from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.policy import Capacity
from gamepipe.wire import PlaceStatus
from store.fleet import load_fleet
from store.store import GamePipelineStore
from store.transaction import Transaction
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request


async def place(store: GamePipelineStore, pipeline_id: str, **shape: object) -> PlaceStatus:
    await store.pipelines.add(new(pipeline_id, **shape), now=NOW)
    return (await store.placements.place(place_request(pipeline_id), now=NOW)).status


async def check(store: GamePipelineStore) -> None:
    """The cached fleet against one that is read whole."""

    def compare(tx: Transaction) -> None:
        cached = tx.fleet(NOW).chooser.snapshot.fleet
        fresh = load_fleet(tx.session, Capacity())
        assert _picture(cached) == _picture(fresh)

    await store._database.write(compare, placing=True)


async def check_asked(store: GamePipelineStore) -> None:
    """The fleet of those who only ask, so."""

    def compare(session: Session, chooser: Chooser) -> None:
        assert _picture(chooser.snapshot.fleet) == _picture(load_fleet(session, Capacity()))

    await store._database.ask(compare, now=NOW)


def _picture(fleet: Fleet) -> object:
    return (
        [
            (node.id, node.state, node.connectivity, node.labels, node.stop_orders)
            for node in fleet.nodes
        ],
        fleet.held,
        fleet.left.tolist(),
        fleet.devices.used.tolist(),
        fleet.devices.whole.tolist(),
        fleet.ports,
        fleet.groups,
    )
