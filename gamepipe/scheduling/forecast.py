"""Where copies of a pipeline would go, and what stops the next one."""

from collections import Counter
from datetime import UTC, datetime

from gamepipe.model.forecast import Cause, Forecast, Placed, Refused
from gamepipe.model.record import Allocation, Verdict
from gamepipe.scheduling.choose import NONE_CLOSED, Choice, Chooser, Closed, Refusal, verdicts
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.remedy import remedies
from gamepipe.scheduling.snapshot import Snapshot

_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)
"""No decision depends on when an allocation was made."""


def forecast(
    need: Need, snapshot: Snapshot, *, count: int = 1, closed: Closed = NONE_CLOSED
) -> Forecast:
    """Place `count` copies, one after the other, as they would be now.

    The fleet of the snapshot holds them afterwards: it must be nobody else's.
    """
    chooser, placed = Chooser(snapshot), Counter[str]()
    first = chooser.explain(need, closed)
    refused = None
    for copy in range(count):
        decision = chooser.choose(need, closed)
        if isinstance(decision, Refusal):
            refused = refusal(need, snapshot, decision, closed)
            break
        snapshot.fleet.hold(_copy(need, decision, copy))
        placed[decision.node_id] += 1
    return Forecast(
        asked=count,
        fitting=placed.total(),
        nodes=len(snapshot.fleet),
        placed=tuple(Placed(node_id=node, count=count) for node, count in placed.items()),
        first=first if first.ranked else None,
        refused=refused,
    )


def refusal(
    need: Need, snapshot: Snapshot, refused: Refusal, closed: Closed = NONE_CLOSED
) -> Refused:
    """Everything that can be said about why no node fits."""
    found = verdicts(need, snapshot, closed)
    ways, closest = remedies(need, snapshot, closed)
    return Refused(
        summary=refused.summary,
        causes=_causes(found),
        verdicts=found,
        remedies=ways,
        closest=closest,
    )


def _causes(found: tuple[Verdict, ...]) -> tuple[Cause, ...]:
    counts = Counter(verdict.code for verdict in found)
    first: dict[str, Verdict] = {}
    for verdict in found:
        first.setdefault(verdict.code, verdict)
    return tuple(
        Cause(code=code, count=count, node_id=first[code].node_id, message=first[code].message)
        for code, count in counts.most_common()
    )


def _copy(need: Need, choice: Choice, number: int) -> Allocation:
    return Allocation(
        pipeline_id="",
        generation=number,
        node_id=choice.node_id,
        resources=need.resources,
        gpu_devices=choice.gpu_devices,
        host_ports=need.host_ports,
        created_at=_SOME_TIME,
        tenant=need.tenant,
        template=need.template,
    )
