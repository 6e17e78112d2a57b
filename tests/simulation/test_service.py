"""A queue in memory is served as that of the store."""

from datetime import UTC, datetime, timedelta

from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.order import Grant
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.simulation.service import Service
from tests.scheduling.queueing import need, node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=6)


def a_service(policy: OrderPolicy | None = None) -> Service:
    """On one node with four cores."""
    fleet = Fleet([node("n1", cpu=4)])
    return Service(Chooser(Snapshot(fleet=fleet)), policy or OrderPolicy())


def names(granted: list[Grant]) -> list[str]:
    return [grant.waiting.pipeline_id for grant in granted]


def test_one_for_a_whole_node_runs_though_small_ones_never_end() -> None:
    service = a_service()
    for number in range(4):
        assert names(service.come(f"small-{number}", need("a"), now=NOW)) == [f"small-{number}"]
    assert service.come("large", need("b", cpu=4), now=NOW) == []
    for number in range(3):
        service.end(f"small-{number}")
        assert service.come(f"late-{number}", need("a"), now=LATER) == []
    service.end("small-3")
    assert names(service.serve(now=LATER)) == ["large"]
    service.end("large")
    assert names(service.serve(now=LATER)) == ["late-0", "late-1", "late-2"]


def test_a_newcomer_passes_nobody_who_fits() -> None:
    service = a_service()
    service.put("waits", need("b", cpu=3), at=NOW)
    assert names(service.come("new", need("a", cpu=2), now=LATER)) == ["waits"]
    service.end("waits")
    assert names(service.serve(now=LATER)) == ["new"]


def test_limits_hold_back_newcomers_and_those_who_wait() -> None:
    service = a_service(OrderPolicy(limits=Limits(most={"tenant": {"a": 1}})))
    assert names(service.come("first", need("a"), now=NOW)) == ["first"]
    assert service.come("second", need("a"), now=NOW) == []
    assert names(service.come("other", need("b"), now=NOW)) == ["other"]
    service.end("first")
    assert names(service.serve(now=NOW)) == ["second"]
