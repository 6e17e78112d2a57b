"""PostgreSQL makes a plan while its tables are small, and keeps it when they are large."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event

from store.store import GamePipelineStore
from store.transaction import Transaction
from tests.postgres_fixtures import PostgresServer
from tests.store.conftest import NOW
from tests.store.shapes import new, place_request, registration

_PARAMETER = re.compile(r"%\((\w+)\)s")


def _numbered(statement: str) -> str:
    """With `$1` for what the driver is given by name."""
    names = list(dict.fromkeys(_PARAMETER.findall(statement)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)


UNLESS = {
    "FROM region": "people say where a few regions are",
    "FROM network": "one row",
    "FROM game_node WHERE game_node.last_seen_at": "every few seconds, of a column that each "
    "heartbeat changes: an index would cost every heartbeat more",
    "FROM allocation ORDER BY allocation.created_at": "once, when a process starts",
}
"""Statements that read a table whole, by a part of them, and why they may."""


@pytest.mark.postgres
async def test_no_plan_that_a_placement_keeps_reads_a_table_whole(postgres: PostgresServer) -> None:
    store = await GamePipelineStore.open(postgres.create_store())
    statements: set[str] = set()

    def heard(_: Connection, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith(("SELECT", "UPDATE", "INSERT", "DELETE")):
            statements.add(statement)

    def plans(tx: Transaction) -> dict[str, str]:
        execute = tx.session.connection().exec_driver_sql
        return {
            " ".join(one.split()): "\n".join(
                execute(f"EXPLAIN (GENERIC_PLAN) {_numbered(one)}").scalars()
            )
            for one in sorted(statements)
        }

    try:
        await store.nodes.register(registration("n1"), now=NOW)
        event.listen(store._database._writer, "before_cursor_execute", heard)
        for name, now in (("p1", NOW), ("p2", NOW + timedelta(minutes=1))):
            await store.pipelines.add(new(name), now=now)
            await store.placements.place(place_request(name), now=now)
        event.remove(store._database._writer, "before_cursor_execute", heard)
        found = await store._database.write(plans)
    finally:
        await store.close()
    whole = [one for one, plan in found.items() if "Seq Scan" in plan]
    assert [one for one in whole if not any(part in one for part in UNLESS)] == []
    assert [part for part in UNLESS if not any(part in one for one in whole)] == []


@pytest.mark.postgres
async def test_what_writes_is_never_compiled(postgres: PostgresServer) -> None:
    """PostgreSQL before 18 takes a table that must be read whole for so costly that it would be."""
    store = await GamePipelineStore.open(postgres.create_store())
    try:
        found = await store._database.write(
            lambda tx: tx.session.connection().exec_driver_sql("SHOW jit").scalar()
        )
    finally:
        await store.close()
    assert found == "off"
