"""What would become of copies of a pipeline, and what stops the next one; the same of one that
waits. As things are now: whoever is before them in the queue is served first, reservations stand
and limits hold."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from gamepipe.model import reason as reasons
from gamepipe.model.forecast import Cause, Forecast, Placed, Refused
from gamepipe.model.record import Verdict
from gamepipe.scheduling.choose import Choice, Refusal, verdicts
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.lineup import allocation_of, serve
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Grant, Line, Turns, Waiting
from gamepipe.scheduling.present import Present
from gamepipe.scheduling.remedy import remedies
from gamepipe.scheduling.turn import turn_of


def newcomer(
    need: Need, present: Present, *, priority: int = 0, labels: Iterable[Label] = ()
) -> Line:
    """One that is not in the queue, and comes now."""
    limited = present.policy.limits.label_keys
    return Line(
        priority=priority,
        need=need,
        labels=tuple(sorted(label for label in labels if label[0] in limited)),
        head=Waiting(pipeline_id="", generation=0, queued_at=present.now),
    )


def forecast(line: Line, present: Present, *, count: int = 1) -> Forecast:
    """`count` copies of a newcomer, one after the other."""
    queue_length = len(present.lineup)
    turns = present.turns(least=line.priority)
    before = sum(1 for _ in serve(turns))
    placed: Counter[str] = Counter()
    first = turn = refused = None
    for copy in range(count):
        answer = turns.place(line)
        if isinstance(answer, Refusal):
            refused = refusal(line, turns, answer)
            turns.lift()  # it has not waited yet, nor has anybody's turn come
            present.lineup.put(line.head, line.need, priority=line.priority, labels=line.labels)
            turn = turn_of(line.head.pipeline_id, present)
            break
        first = first or turns.chooser.explain_last()
        waiting = replace(line.head, generation=copy + 1)
        turns.chooser.snapshot.fleet.hold(
            allocation_of(Grant(line=line, waiting=waiting, choice=answer))
        )
        turns.count(line)
        placed[answer.node_id] += 1
    return Forecast(
        asked=count,
        fitting=placed.total(),
        nodes=len(present.chooser.snapshot.fleet),
        placed=tuple(Placed(node_id=node, count=count) for node, count in placed.items()),
        first=first,
        refused=refused,
        turn=turn,
        queue_length=queue_length,
        served_before=before,
    )


def outlook(pipeline_id: str, present: Present) -> Forecast | None:
    """Of one that waits; None: it does not."""
    line, turn = present.lineup.find(pipeline_id), turn_of(pipeline_id, present)
    if line is None:
        return None
    found = Forecast(
        asked=1,
        fitting=0,
        nodes=len(present.chooser.snapshot.fleet),
        turn=turn,
        queue_length=len(present.lineup),
    )
    turns = present.turns()
    answer = _served(pipeline_id, turns) or turns.place(line)
    if isinstance(answer, Choice):
        node, first = Placed(node_id=answer.node_id, count=1), turns.chooser.explain_last()
        found = replace(found, fitting=1, placed=(node,), first=first)
    else:
        found = replace(found, refused=refusal(line, turns, answer))
    turns.lift()
    return found


def _served(pipeline_id: str, turns: Turns) -> Choice | None:
    """What it is granted when its turn comes."""
    granted = (grant for grant in serve(turns) if grant.waiting.pipeline_id == pipeline_id)
    first = next(granted, None)
    return first.choice if first else None


def refusal(line: Line, turns: Turns, refused: Refusal) -> Refused:
    """Everything that can be said about why the head of a line does not start."""
    if refused.reason == reasons.LIMIT_REACHED:
        return Refused(summary=refused.summary, reason=refused.reason)
    kept = turns.reservations.of(line.head.pipeline_id)
    own = [one.kept for one in kept if one.making_room is None]
    snapshot = turns.chooser.snapshot
    with turns.unreserved(line) as closed:
        found = verdicts(line.need, snapshot, closed)
        ways, closest = remedies(line.need, snapshot, closed)
    return Refused(
        summary=refused.summary,
        reason=refused.reason,
        kept_node_id=own[0].node_id if own else "",
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
