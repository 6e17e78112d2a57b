"""The queue as lines: all that wait with the same need stand in one, and only its head is read.

So a pass over thousands of entries looks at as many needs as differ, and at nobody's definition.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Text, and_, func, type_coerce, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from gamepipe.model.record import Verdict
from gamepipe.scheduling.choose import Refusal
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.need import Need, need_of
from gamepipe.scheduling.order import Line, Waiting
from store.table import AllocationRow, PipelineLabelRow, PipelineRow, QueueEntryRow
from store.transaction import Transaction

TOLD = 100
"""Of each line so many are told anew why they wait; those behind have time."""
_HEAD = (QueueEntryRow.pipeline_id, QueueEntryRow.generation, QueueEntryRow.queued_at)
_NEED: TypeAdapter[Need] = TypeAdapter(Need)
WITHOUT_LINE = (
    select(QueueEntryRow, PipelineRow)
    .join(PipelineRow, col(PipelineRow.id) == col(QueueEntryRow.pipeline_id))
    .where(QueueEntryRow.line == "")
)
"""Entries from before there were lines."""
_ANYBODY = select(QueueEntryRow.pipeline_id).limit(1)


def line_of(need: Need) -> str:
    """The same for the same need, in every process."""
    plain = _NEED.dump_python(need, mode="json") | {"features": sorted(need.features)}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]


def is_empty(tx: Transaction) -> bool:
    return tx.session.exec(_ANYBODY).first() is None


def put(
    tx: Transaction,
    row: PipelineRow,
    waiting: Waiting,
    *,
    avoid: Sequence[str],
    why: Refusal,
    verdicts: tuple[Verdict, ...] = (),
) -> None:
    """The pipeline waits: a new entry, or another for the one that there is."""
    need = need_of(row.spec, row.args, avoid=tuple(avoid))
    tx.put(
        QueueEntryRow(
            pipeline_id=row.id,
            generation=waiting.generation,
            priority=row.priority,
            queued_at=waiting.queued_at,
            summary=why.summary,
            reason=why.reason,
            verdicts=verdicts,
            avoid=tuple(avoid),
            line=line_of(need),
            need=need,
        )
    )
    row.reason, row.message = why.reason, why.summary


def redefine(entry: QueueEntryRow, row: PipelineRow) -> None:
    """The definition or the priority of one that waits has changed."""
    need = need_of(row.spec, row.args, avoid=tuple(entry.avoid))
    entry.priority, entry.need, entry.line = row.priority, need, line_of(need)


# --- reading -------------------------------------------------------------------------------------


def lines(tx: Transaction, *, least: int | None = None) -> list[Line]:
    """Of all entries, or those of at least that priority."""
    tx.session.flush()
    _work_out_missing(tx)
    keys = tx.order.limits.label_keys
    labels = [aliased(PipelineLabelRow) for _ in keys]
    columns = [QueueEntryRow.priority, QueueEntryRow.line, *(label.value for label in labels)]
    groups = _joined(select(*columns), keys, labels).group_by(*columns)
    if least is not None:
        groups = groups.where(col(QueueEntryRow.priority) >= least)
    found = [
        _Place(tx, priority, line, dict(zip(keys, values, strict=True)))
        for priority, line, *values in tx.session.connection().execute(groups).all()
    ]
    return [place.line() for place in found]


def entries(session: Session, keys: Sequence[str]) -> Iterator[Any]:
    """Priority, line, pipeline, generation, time and the values of these labels of every entry,
    the oldest first."""
    labels = [aliased(PipelineLabelRow) for _ in keys]
    place = (QueueEntryRow.priority, QueueEntryRow.line, *_HEAD)
    columns: Sequence[Any] = (*place, *(label.value for label in labels))
    query = _joined(select(*columns), keys, labels)
    age = (col(QueueEntryRow.queued_at), col(QueueEntryRow.pipeline_id))
    yield from session.connection().execute(query.order_by(*age))


class _Place:
    """Where a line stands: entries with the same priority, need and limited labels."""

    def __init__(
        self, tx: Transaction, priority: int, line: str, labels: Mapping[str, str | None]
    ) -> None:
        self._tx = tx
        self._priority, self._line, self._labels = priority, line, labels

    def line(self) -> Line:
        found = self.first((*_HEAD, QueueEntryRow.need), 1)[0]  # it was found by its entries
        return Line(
            priority=self._priority,
            need=cast(Need, found[3]),
            labels=tuple((key, value) for key, value in self._labels.items() if value is not None),
            head=Waiting(pipeline_id=found[0], generation=found[1], queued_at=found[2]),
            follow=self.head,
        )

    def head(self) -> Waiting | None:
        """The oldest that has not left the queue."""
        self._tx.session.flush()
        for pipeline_id, generation, queued_at in self.first(_HEAD, 1):
            return Waiting(pipeline_id=pipeline_id, generation=generation, queued_at=queued_at)
        return None

    def first(self, columns: Sequence[Any], count: int) -> Sequence[Any]:
        """Of the oldest."""
        labels = [aliased(PipelineLabelRow) for _ in self._labels]
        query = _joined(select(*columns), tuple(self._labels), labels)
        query = query.where(
            QueueEntryRow.priority == self._priority, QueueEntryRow.line == self._line
        )
        for label, value in zip(labels, self._labels.values(), strict=True):
            query = query.where(label.value == value)  # None: IS NULL
        age = (col(QueueEntryRow.queued_at), col(QueueEntryRow.pipeline_id))
        oldest = query.order_by(*age).limit(count)
        return cast(Sequence[Any], self._tx.session.connection().execute(oldest).all())


def labels_of(tx: Transaction, pipeline_id: str) -> tuple[Label, ...]:
    """Those of a pipeline whose keys are limited."""
    keys = tx.order.limits.label_keys
    if not keys:
        return ()
    rows = select(PipelineLabelRow.key, PipelineLabelRow.value).where(
        PipelineLabelRow.pipeline_id == pipeline_id, col(PipelineLabelRow.key).in_(keys)
    )
    return tuple(sorted((key, value) for key, value in tx.session.exec(rows)))


def labelled(tx: Transaction) -> dict[Label, int]:
    """Live allocations by limited label."""
    return count_labels(tx.session, tx.order.limits.label_keys)


def count_labels(session: Session, keys: Sequence[str]) -> dict[Label, int]:
    """Live allocations by label with one of these keys."""
    if not keys:
        return {}
    key, value = col(PipelineLabelRow.key), col(PipelineLabelRow.value)
    counts = (
        select(PipelineLabelRow.key, PipelineLabelRow.value, func.count())
        .join(AllocationRow, col(AllocationRow.pipeline_id) == col(PipelineLabelRow.pipeline_id))
        .where(col(AllocationRow.released_at).is_(None), key.in_(keys))
        .group_by(key, value)
    )
    return {(key, value): count for key, value, count in session.exec(counts)}


def _joined(query: Any, keys: Sequence[str], labels: Sequence[type[PipelineLabelRow]]) -> Any:
    """With the label of each key, where the pipeline has it."""
    query = query.select_from(QueueEntryRow)
    for key, label in zip(keys, labels, strict=True):
        of_entry = col(label.pipeline_id) == col(QueueEntryRow.pipeline_id)
        query = query.outerjoin(label, and_(of_entry, col(label.key) == key))
    return query


def _work_out_missing(tx: Transaction) -> None:
    found = tx.session.exec(WITHOUT_LINE).all()
    for entry, row in found:
        redefine(entry, row)
    if found:
        tx.session.flush()


def waits_for(session: Session, regions: Collection[str]) -> bool:
    """Whether anybody waits whose players are in one of these regions and may not be too far."""
    far = type_coerce(QueueEntryRow.need, Text).not_like('%"max_latency_ms":null%')
    places = (need.placement for need in needs(session, far).values())
    return any(one.max_latency_ms is not None and one.player_region in regions for one in places)


def needs(session: Session, *which: ColumnElement[bool]) -> dict[str, Need]:
    """By line; each is read once, however many stand in it."""
    text = func.min(type_coerce(QueueEntryRow.need, Text))
    found = select(QueueEntryRow.line, text).where(QueueEntryRow.line != "", *which)
    rows = session.exec(found.group_by(col(QueueEntryRow.line)))
    return {line: _NEED.validate_json(need) for line, need in rows}


# --- telling -------------------------------------------------------------------------------------


def tell(
    tx: Transaction, line: Line, why: Refusal, verdicts: Callable[[], tuple[Verdict, ...]]
) -> None:
    """The first of a line hear why they wait, if it is another reason than they know."""
    values = dict(line.labels)
    labels = {key: values.get(key) for key in tx.order.limits.label_keys}
    place = _Place(tx, line.priority, line_of(line.need), labels)
    tx.session.flush()
    ahead = place.first((QueueEntryRow.pipeline_id, QueueEntryRow.summary), TOLD)
    ids = [pipeline_id for pipeline_id, summary in ahead if summary != why.summary]
    if not ids:
        return
    said = {"summary": why.summary, "reason": why.reason, "verdicts": verdicts()}
    execute = tx.session.connection().execute
    execute(update(QueueEntryRow).where(col(QueueEntryRow.pipeline_id).in_(ids)).values(said))
    shown = {"message": why.summary, "reason": why.reason}
    execute(update(PipelineRow).where(col(PipelineRow.id).in_(ids)).values(shown))
    tx.session.expire_all()
