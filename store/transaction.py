"""One write transaction: its session, and the events that are written at its very end."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import inspect, or_, text
from sqlmodel import SQLModel, col

from gamepipe.model.record import EventKind
from gamepipe.scheduling.order_policy import OrderPolicy
from store.batch import BatchSession, key_in, key_of
from store.bulk import insert_into, insert_of, insert_rows
from store.fleet import FleetCache, next_revision
from store.keyed import read_rows
from store.table import EventRow, PipelineRow

Row = TypeVar("Row", bound=SQLModel)
EVENT_LOCK = 0x67616D65_0002
"""Held from the first event to the commit, so that events commit in the order of their ids."""
NOTIFY_CHANNEL = "gamepipe"
_EVENT = ("kind", "at", "pipeline_id", "node_id", "instance_id", "run_id", "number", "data")


@dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    kind: EventKind
    at: datetime
    pipeline_id: str = ""
    node_id: str = ""
    instance_id: str = ""
    run_id: str = ""
    number: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


class PlacementLockNeeded(Exception):
    """A transaction turned out to write allocations: it must begin anew under their lock."""


class Transaction:
    """Lock order: placement, then rows, then events. `add_event` only remembers."""

    def __init__(
        self,
        session: BatchSession,
        *,
        is_postgres: bool,
        placing: bool = False,
        fleet: FleetCache | None = None,
        order: OrderPolicy | None = None,
    ) -> None:
        self.session = session
        self.is_postgres = is_postgres
        self.order = order or OrderPolicy()
        self.revision: int | None = None
        """Its number, once it changed what placements depend on."""
        self.fleet_changed = False
        """It wrote what placements depend on, and the fleet in memory does not know it."""
        self.chose = False
        """It has looked at the fleet, and may hold there what it writes."""
        self.vacated: dict[str, str] = {}
        """By pipeline that others made room for, the node on which they did here."""
        self._placing = placing
        self._fleet = fleet
        self._events: list[NewEvent] = []
        self._wakes = False
        self._locked: dict[str, PipelineRow] = {}
        self._held: list[SQLModel] = []
        """Rows that a session would drop while nobody else holds them."""
        self._absent: set[tuple[type[SQLModel], Any]] = set()

    def lock_pipeline(self, pipeline_id: str) -> PipelineRow | None:
        """The row, held until the commit (SQLite holds the whole database anyway)."""
        if row := self._locked.get(pipeline_id):
            return row
        for row in read_rows(self.session, PipelineRow, [pipeline_id], lock=True):
            self._locked[pipeline_id] = row
        return self._locked.get(pipeline_id)

    def preload(self, table: type[Row], keys: Collection[Any]) -> Mapping[Any, Row]:
        """Read rows by primary key in one query, so that `lock_pipeline` and `find` need none. For
        what is not there `find` then asks no more."""
        locks = table is PipelineRow
        found = {key_of(row): row for row in read_rows(self.session, table, keys, lock=locks)}
        self._held.extend(found.values())
        self.remember_absent(table, set(keys) - found.keys())
        if locks:
            self._locked.update(found)
        return found

    def remember_absent(self, table: type[SQLModel], keys: Collection[Any]) -> None:
        """There are no such rows, until this transaction puts them there."""
        self._absent.update((table, key) for key in keys)

    def find(self, table: type[Row], key: Any) -> Row | None:
        """The row with this primary key."""
        if (table, key) in self._absent:
            return None
        return self.session.get(table, key)

    def put(self, row: Row) -> Row:
        """Insert a row, or replace the one with its primary key. The row that is there now."""
        key = key_of(row)
        if self.find(type(row), key) is not None:
            return self.session.merge(row)
        self._absent.discard((type(row), key))
        self.session.add(row)
        return row

    def put_row(self, table: type[SQLModel], values: dict[str, Any]) -> None:
        """`put` of one row of many, by its values."""
        self._absent.discard((table, key_in(table, values)))
        self.session.put_row(table, values)

    def hold_placement_lock(self) -> None:
        """For work that finds out only now that it writes allocations: it is done anew, unless it
        has the lock."""
        if not self._placing:
            raise PlacementLockNeeded

    def fleet_revision(self, *, told: bool = False) -> int:
        """Its number among those that change what placements depend on. `told`: the fleet in memory
        is told, too, of what gets the number."""
        if self.revision is None:
            self.hold_placement_lock()
            self.revision = next_revision(self.session)
        self.fleet_changed = self.fleet_changed or not told
        return self.revision

    def fleet(self, now: datetime) -> FleetCache:
        """The fleet of this process, up to date with what this transaction sees."""
        self.hold_placement_lock()
        assert self._fleet is not None  # noqa: S101 - who has the lock has the fleet
        self.session.flush()
        if not self.chose:
            self._fleet.mark()
        first, self.chose = not self.chose, True
        if self.fleet_changed:  # all that has its number is read again
            self._fleet.settle(self.revision)
            self.fleet_changed = False
        self._fleet.catch_up(self.session, now)
        if first and self.revision is None:  # it read nothing that is its own
            self._fleet.mark()
        return self._fleet

    def add_event(self, event: NewEvent) -> None:
        self._events.append(event)

    def wake(self) -> None:
        """Wake readers of every process, though no event is written."""
        self._wakes = True

    def insert_missing(self, table: type[SQLModel], rows: Iterable[dict[str, Any]]) -> None:
        """Insert rows whose unique keys are not there yet."""
        values = list(rows)
        if values:
            statement = insert_into(table, postgres=self.is_postgres).on_conflict_do_nothing()
            self.session.connection().execute(statement, values)

    def insert_new(self, table: type[SQLModel], row: dict[str, Any]) -> bool:
        """Insert a row; False when its key is there already."""
        insert = insert_into(table, postgres=self.is_postgres)
        key = inspect(table).primary_key
        statement = insert.values(row).on_conflict_do_nothing().returning(*key)
        return self.session.connection().execute(statement).first() is not None

    def flush_events(self) -> None:
        """The last statements of the transaction."""
        self.session.flush()
        if self.is_postgres and self._events:
            self._execute("SELECT pg_advisory_xact_lock(:key)", key=EVENT_LOCK)
        self._put_events()
        if self.is_postgres and (self._events or self._wakes):
            self._execute("SELECT pg_notify(:channel, '')", channel=NOTIFY_CHANNEL)

    def _put_events(self) -> None:
        """A number of a run that is there already stays, unless the run means something else by it:
        a workflow task that is repeated behind new signals tells anew what it told too early."""
        if self._events:
            statement = _put_event(self.is_postgres)
            rows = [_columns(event) for event in _last_of_each(self._events)]
            insert_rows(self.session.connection(), EventRow, rows, statement)

    def _execute(self, statement: str, **values: Any) -> None:
        self.session.connection().execute(text(statement), values)


def _columns(event: NewEvent) -> dict[str, Any]:
    values = {name: getattr(event, name) for name in _EVENT}
    return values | {"kind": event.kind.value}


def _last_of_each(events: Iterable[NewEvent]) -> Iterable[NewEvent]:
    """What a number of a run means in the end; one without a number is only itself."""
    found = {}
    for place, event in enumerate(events, 1):
        number = -place if event.number is None else event.number
        found[event.pipeline_id, event.run_id, number] = event
    return found.values()


@lru_cache
def _put_event(postgres: bool) -> Any:
    insert = insert_of(EventRow, _EVENT, postgres=postgres)
    new = insert.excluded
    return insert.on_conflict_do_update(
        index_elements=["pipeline_id", "run_id", "number"],
        set_={name: new[name] for name in ("kind", "at", "node_id", "data")},
        where=or_(col(EventRow.kind) != new.kind, col(EventRow.data) != new["data"]),
    )
