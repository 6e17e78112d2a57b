"""Tails of logs: how far each attempt is stored. Plain columns, for lines come all the time."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import bindparam, tuple_, update
from sqlmodel import Session, col, select

from gamepipe.model.record import AttemptKey
from gamepipe.ports import LogTail
from store.table import LogTailRow
from store.transaction import Transaction

_KEY = ("pipeline_id", "generation", "step_index", "attempt")
_KEY_COLUMNS = [col(getattr(LogTailRow, name)) for name in _KEY]
_VALUES = ("last", "base", "series", "earlier_series")
_VALUE_COLUMNS = [col(getattr(LogTailRow, name)) for name in _VALUES]
_WRITE = (
    update(LogTailRow.__table__)  # type: ignore[attr-defined]
    .where(*(col(getattr(LogTailRow, name)) == bindparam(f"key_{name}") for name in _KEY))
    .values({name: bindparam(f"new_{name}") for name in _VALUES})
)


@dataclass(kw_only=True, slots=True)
class Tail:
    """A row as a transaction changes it."""

    last: int = 0
    base: int = 0
    series: str = ""
    earlier_series: str = ""

    def goes_on_with(self, series: str) -> bool:
        """False for a late resend of an earlier series; a new one begins behind what is stored."""
        if series == self.earlier_series and self.series:
            return False
        if series != self.series:
            self.earlier_series, self.series, self.base = self.series, series, self.last
        return True


def key_columns(key: AttemptKey) -> dict[str, Any]:
    return dict(zip(_KEY, _key(key), strict=True))


def lock(tx: Transaction, keys: set[AttemptKey]) -> dict[AttemptKey, Tail]:
    """The tails of attempts whose pipeline exists and is held, locked in one order."""
    tails = _locked(tx, keys)
    if missing := sorted(keys - tails.keys(), key=_key):
        tx.insert_missing(LogTailRow, [key_columns(key) | asdict(Tail()) for key in missing])
        tails |= _locked(tx, set(missing))
    return tails


def write(tx: Transaction, tails: Mapping[AttemptKey, Tail]) -> None:
    rows = [
        {f"key_{name}": value for name, value in key_columns(key).items()}
        | {f"new_{name}": value for name, value in asdict(tail).items()}
        for key, tail in tails.items()
    ]
    if rows:
        tx.session.connection().execute(_WRITE, rows)


def read(session: Session, pipeline_id: str) -> dict[AttemptKey, LogTail]:
    """See `LogRepository.tails`."""
    columns = [*_KEY_COLUMNS, *_VALUE_COLUMNS[:2]]
    query = select(*columns).where(LogTailRow.pipeline_id == pipeline_id).order_by(*_KEY_COLUMNS)
    return {_attempt(row): LogTail(last=row[4], base=row[5]) for row in session.exec(query)}


def _locked(tx: Transaction, keys: set[AttemptKey]) -> dict[AttemptKey, Tail]:
    """Those that are there; one statement, for lines come from many attempts at once."""
    if not keys:
        return {}
    query = (
        select(*_KEY_COLUMNS, *_VALUE_COLUMNS)
        .where(tuple_(*_KEY_COLUMNS).in_([_key(key) for key in keys]))
        .order_by(*_KEY_COLUMNS)
        .with_for_update()
    )
    return {
        _attempt(row): Tail(**dict(zip(_VALUES, row[4:], strict=True)))
        for row in tx.session.exec(query)
    }


def _key(key: AttemptKey) -> tuple[str, int, int, int]:
    return key.pipeline_id, key.generation, key.step_index, key.attempt


def _attempt(row: Any) -> AttemptKey:
    return AttemptKey(**dict(zip(_KEY, row, strict=False)))
