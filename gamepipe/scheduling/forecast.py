"""What would become of copies of a pipeline, and what stops the next one; the same of one that
waits. As things are now: whoever is before them in the queue is served first, reservations stand
and limits hold."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, islice

from gamepipe.model import reason as reasons
from gamepipe.model.errors import QueueFull
from gamepipe.model.forecast import Cause, Forecast, MadeRoom, Placed, Refused
from gamepipe.model.record import Verdict
from gamepipe.scheduling.choose import Choice, Refusal, verdicts
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.lineup import allocation_of, serve
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Grant, Line, Turns, Waiting
from gamepipe.scheduling.present import Present
from gamepipe.scheduling.remedy import remedies
from gamepipe.scheduling.turn import turn_of

MOST_PREEMPTING = 100
"""As many copies are looked at that could start by preemption only."""


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
    if present.left_in_queue is not None and present.left_in_queue <= 0:
        return _not_created(line, present, count)
    turns = present.turns(least=line.priority)
    found = Forecast(
        asked=count,
        fitting=0,
        nodes=len(present.chooser.snapshot.fleet),
        queue_length=len(present.lineup),
        served_before=sum(1 for _ in serve(turns)),
    )
    placed: Counter[str] = Counter()
    while placed.total() < count:
        answer = turns.place(line)
        if isinstance(answer, Refusal):
            found = _stopped(replace(found, fitting=placed.total()), line, turns, answer, present)
            break
        if not placed:
            found = replace(found, first=turns.chooser.explain_last())
        _start(placed.total() + 1, line, turns, answer)
        placed[answer.node_id] += 1
    nodes = tuple(Placed(node_id=node, count=number) for node, number in placed.items())
    return replace(found, fitting=placed.total(), placed=nodes)


def _start(copy: int, line: Line, turns: Turns, choice: Choice) -> None:
    """It holds what it was given, for those behind it."""
    waiting = replace(line.head, generation=copy)
    granted = Grant(line=line, waiting=waiting, choice=choice)
    turns.chooser.snapshot.fleet.hold(allocation_of(granted))
    turns.count(line)


def _stopped(
    found: Forecast, line: Line, turns: Turns, answer: Refusal, present: Present
) -> Forecast:
    """What becomes of those that do not start now."""
    started, left = found.fitting, found.asked - found.fitting
    may_wait = _may_wait(left, present)
    refused = refusal(line, turns, answer)
    preempting = _preempting(line, turns, range(started + 1, started + 1 + may_wait))
    turns.lift()  # it has not waited yet, nor has anybody's turn come
    present.lineup.put(line.head, line.need, priority=line.priority, labels=line.labels)
    return replace(
        found,
        refused=refused,
        preempting=preempting,
        queue_full=left - may_wait,
        turn=turn_of(line.head.pipeline_id, present),
    )


def _may_wait(copies: int, present: Present) -> int:
    """Of those that do not start now."""
    left = present.left_in_queue
    return copies if left is None else min(copies, left)


def _not_created(line: Line, present: Present, count: int) -> Forecast:
    summary = present.policy.queue_full(line.need.tenant)
    return Forecast(
        asked=count,
        fitting=0,
        nodes=len(present.chooser.snapshot.fleet),
        refused=Refused(summary=summary, reason=QueueFull.reason),
        queue_full=count,
        queue_length=len(present.lineup),
    )


def _preempting(line: Line, turns: Turns, copies: Iterable[int]) -> tuple[MadeRoom, ...]:
    """Where copies that fit nowhere start by preemption; each is behind the one before it."""
    found: dict[str, MadeRoom] = {}
    for copy in islice(copies, MOST_PREEMPTING):
        asked, name = len(turns.preemptions), f"copy {copy}"
        turns.make_room(replace(line, head=replace(line.head, pipeline_id=name)))
        made = next(iter(turns.reservations.of(name)), None)
        if made is None:
            break
        turns.count(line)
        node_id = made.kept.node_id
        before = found.get(node_id) or MadeRoom(node_id=node_id, count=0, victims=())
        keys = chain.from_iterable(one.victims for one in turns.preemptions[asked:])
        victims = before.victims + tuple(sorted(pipeline_id for pipeline_id, _ in keys))
        leaving = tuple(one for one in made.making_room or () if one not in victims)
        found[node_id] = MadeRoom(
            node_id=node_id, count=before.count + 1, victims=victims, leaving=leaving
        )
    return tuple(found.values())


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
