"""PostgreSQL makes a plan while its tables are small, and keeps it when they are large."""

import re
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


@pytest.mark.postgres
async def test_no_plan_that_a_placement_keeps_reads_a_table_whole(postgres: PostgresServer) -> None:
    store = await GamePipelineStore.open(postgres.create_store())
    statements: set[str] = set()

    def heard(_: Connection, __: Any, statement: str, *___: Any) -> None:
        if "WHERE" in statement:
            statements.add(statement)

    def plans(tx: Transaction) -> dict[str, str]:
        execute = tx.session.connection().exec_driver_sql
        return {
            one: "\n".join(execute(f"EXPLAIN (GENERIC_PLAN) {_numbered(one)}").scalars())
            for one in sorted(statements)
        }

    try:
        await store.nodes.register(registration("n1"), now=NOW)
        await store.pipelines.add(new("p"), now=NOW)
        event.listen(store._database._writer, "before_cursor_execute", heard)
        await store.placements.place(place_request("p"), now=NOW)
        event.remove(store._database._writer, "before_cursor_execute", heard)
        found = await store._database.write(plans)
    finally:
        await store.close()
    assert {"SELECT", "UPDATE"} <= {one.split()[0] for one in found}
    assert [one for one, plan in found.items() if "Seq Scan" in plan] == []
