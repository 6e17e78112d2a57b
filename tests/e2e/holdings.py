"""What the tenants hold of the fleet, change by change, in the order in which the store commits.

The times in an allocation are those at which somebody asked, so they do not tell that order: many
ask while one has the placement lock. Triggers in the store's own database write it down under it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import create_engine, text

from store.database import parse_url

_TABLE = "CREATE TABLE holding_change (number {serial} PRIMARY KEY, tenant TEXT, change INTEGER)"
_NOTE = "INSERT INTO holding_change (tenant, change) VALUES (NEW.tenant, {change});"
_PLACED = "CREATE TRIGGER placed AFTER INSERT ON allocation "
_RELEASED = (
    "CREATE TRIGGER released AFTER UPDATE OF released_at ON allocation"
    " {each} WHEN (OLD.released_at IS NULL AND NEW.released_at IS NOT NULL) "
)
_SQLITE = (
    _TABLE.format(serial="INTEGER"),
    f"{_PLACED} BEGIN {_NOTE.format(change=1)} END",
    f"{_RELEASED.format(each='')} BEGIN {_NOTE.format(change=-1)} END",
)
_FUNCTION = (
    "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {note} RETURN NULL; END'"
)
_POSTGRESQL = (
    _TABLE.format(serial="SERIAL"),
    _FUNCTION.format(name="note_placed", note=_NOTE.format(change=1)),
    _FUNCTION.format(name="note_released", note=_NOTE.format(change=-1)),
    f"{_PLACED} FOR EACH ROW EXECUTE FUNCTION note_placed()",
    f"{_RELEASED.format(each='FOR EACH ROW')} EXECUTE FUNCTION note_released()",
)


@dataclass(frozen=True, slots=True)
class Change:
    """`tenant` holds one allocation more, or one less."""

    tenant: str
    placed: bool


def record_changes(store_url: str) -> None:
    """From now on."""
    url = parse_url(store_url)
    statements = _SQLITE if url.get_backend_name() == "sqlite" else _POSTGRESQL
    with create_engine(url).begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def recorded_changes(store_url: str) -> Sequence[Change]:
    with create_engine(parse_url(store_url)).connect() as connection:
        rows = connection.execute(text("SELECT tenant, change FROM holding_change ORDER BY number"))
        return [Change(tenant, change > 0) for tenant, change in rows]
