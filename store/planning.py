"""The fleet and its queue as they are, for somebody who only asks."""

from datetime import datetime

from sqlmodel import Session

from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.lineup import Lineup
from gamepipe.scheduling.need import need_of
from gamepipe.scheduling.order import Waiting
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.present import Present
from store import preemption, queue
from store.adding import left_in_queue


def present(
    session: Session, chooser: Chooser, order: OrderPolicy, *, now: datetime, newcomer: str = ""
) -> Present:
    """What a placement would be decided on now.

    Args:
        chooser: the asker's own, for who plans changes its fleet.
        newcomer: the tenant of one that is not created yet.
    """
    fleet = chooser.snapshot.fleet
    return Present(
        chooser=chooser,
        lineup=_lineup(session, order.limits.label_keys),
        policy=order,
        labelled=queue.count_labels(session, order.limits.label_keys),
        claims=tuple(preemption.claims(session, fleet)),
        now=now,
        left_in_queue=left_in_queue(session, order, newcomer) if newcomer else None,
    )


def _lineup(session: Session, keys: tuple[str, ...]) -> Lineup:
    """All that wait; of each line its need is read once."""
    lineup, needs = Lineup(), queue.needs(session)
    for priority, line, pipeline_id, generation, queued_at, *values in queue.entries(session, keys):
        if line in needs:
            waiting = Waiting(pipeline_id=pipeline_id, generation=generation, queued_at=queued_at)
            labels = _present(dict(zip(keys, values, strict=True)))
            lineup.put(waiting, needs[line], priority=priority, labels=labels)
    for entry, row in session.exec(queue.WITHOUT_LINE):
        waiting = Waiting(
            pipeline_id=row.id, generation=entry.generation, queued_at=entry.queued_at
        )
        need = need_of(row.spec, row.args, avoid=tuple(entry.avoid))
        labels = _present({key: row.labels.get(key) for key in keys})
        lineup.put(waiting, need, priority=entry.priority, labels=labels)
    return lineup


def _present(labels: dict[str, str | None]) -> tuple[Label, ...]:
    return tuple((key, value) for key, value in labels.items() if value is not None)
