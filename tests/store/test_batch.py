"""Rows that a transaction writes by the many are there for whoever asks, inside it and behind."""

import math
from dataclasses import replace

import pytest
from sqlmodel import select

from gamepipe.model.record import EventKind, StepRecord
from gamepipe.model.state import StepState
from store.record import step_values
from store.store import GamePipelineStore
from store.table import PipelineRow, StepRow
from store.transaction import NewEvent, Transaction
from tests.postgres_fixtures import PostgresServer
from tests.store.conftest import NOW
from tests.store.shapes import new

STEP = StepRecord(index=0, name="fetch", generation=1, state=StepState.RUNNING, attempt=2)


async def test_a_row_that_is_put_replaces_the_one_with_its_key(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p1"), now=NOW)
    await store._database.write(lambda tx: tx.put_row(StepRow, step_values("p1", STEP)))
    first, second = (await store.pipelines.get("p1")).steps
    assert first == STEP
    assert second.state is StepState.PENDING


async def test_queries_of_the_transaction_see_what_is_not_written_yet(
    store: GamePipelineStore,
) -> None:
    await store.pipelines.add(new("p1"), now=NOW)

    def work(tx: Transaction) -> list[str]:
        row = tx.lock_pipeline("p1")
        assert row is not None
        tx.session.change_row(row, {"name": "changed"})
        tx.put_row(StepRow, step_values("p1", STEP))
        names = select(PipelineRow.name).where(PipelineRow.name == "changed")
        states = select(StepRow.state).where(StepRow.attempt == STEP.attempt)
        return [*tx.session.exec(names), *tx.session.exec(states)]

    assert await store._database.write(work) == ["changed", "running"]


async def test_a_row_that_is_not_written_yet_is_found_by_its_key(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p1"), now=NOW)

    def work(tx: Transaction) -> int:
        tx.put_row(StepRow, step_values("p1", replace(STEP, index=7)))
        return tx.session.get_one(StepRow, ("p1", 1, 7)).attempt

    assert await store._database.write(work) == 2


async def test_objects_that_are_loaded_show_what_was_put(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p1"), now=NOW)

    def work(tx: Transaction) -> tuple[str, int]:
        step = tx.session.get_one(StepRow, ("p1", 1, 0))
        tx.put_row(StepRow, step_values("p1", STEP))
        return step.state, step.attempt

    assert await store._database.write(work) == ("running", 2)


async def test_of_two_changes_of_a_column_the_later_one_stands(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p1"), now=NOW)

    def work(tx: Transaction) -> None:
        row = tx.lock_pipeline("p1")
        assert row is not None
        tx.session.change_row(row, {"message": "first"})
        row.message = "second"
        row.reason = "FIRST"
        tx.session.change_row(row, {"reason": "SECOND"})

    await store._database.write(work)
    record = await store.pipelines.get("p1")
    assert (record.message, record.reason) == ("second", "SECOND")


async def test_of_a_row_that_is_put_twice_the_later_one_stands(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p1"), now=NOW)

    def work(tx: Transaction) -> None:
        for attempt in (1, 2):
            tx.put_row(StepRow, step_values("p1", replace(STEP, attempt=attempt)))

    await store._database.write(work)
    assert (await store.pipelines.get("p1")).steps[0].attempt == 2


async def test_of_two_events_with_a_number_in_one_transaction_the_later_one_stands(
    store: GamePipelineStore,
) -> None:
    await store.pipelines.add(new("p1"), now=NOW)
    told = NewEvent(
        kind=EventKind.STEP_PROGRESSED, at=NOW, pipeline_id="p1", run_id="run-1", number=7
    )

    def work(tx: Transaction) -> None:
        tx.add_event(told)
        tx.add_event(replace(told, number=None, data={"own": "first"}))
        tx.add_event(replace(told, number=None, data={"own": "second"}))
        tx.add_event(replace(told, data={"percent": 7}))

    await store._database.write(work)
    events = await store.events.read(kinds=(EventKind.STEP_PROGRESSED,))
    assert [one.data for one in events] == [{"percent": 7}, {"own": "first"}, {"own": "second"}]


async def test_a_row_that_is_expired_can_be_changed(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p1"), now=NOW)

    def work(tx: Transaction) -> None:
        row = tx.lock_pipeline("p1")
        assert row is not None
        tx.session.expire_all()
        tx.session.change_row(row, {"message": "changed"})

    await store._database.write(work)
    assert (await store.pipelines.get("p1")).message == "changed"


@pytest.mark.postgres
async def test_postgresql_gets_no_number_that_is_none_and_the_error_names_no_value(
    postgres: PostgresServer,
) -> None:
    store = await GamePipelineStore.open(postgres.create_database())
    await store.pipelines.add(new("p1"), now=NOW)
    bad = replace(STEP, percent=math.nan, message="MARKED")
    with pytest.raises(ValueError, match="JSON") as failure:
        await store._database.write(lambda tx: tx.put_row(StepRow, step_values("p1", bad)))
    await store.close()
    assert "MARKED" not in str(failure.value)
