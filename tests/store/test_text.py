"""Texts that no database holds: they are replaced, and stop nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import StatementError

from gamepipe.model.record import EventKind, PipelineEvent
from gamepipe.model.state import PipelineState, StepState
from gamepipe.ports import PipelineFilter
from gamepipe.wire import SaveStatus
from store.store import GamePipelineStore
from store.table import AllocationRow
from store.text import clean
from store.transaction import Transaction
from tests.store.conftest import NOW
from tests.store.shapes import new, save_request, step

ODD = "core\0dump, half \ud83d of a smile"
CLEAN = "core\ufffddump, half \ufffd of a smile"


async def test_what_steps_say_is_stored_whatever_is_in_it(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    failed = step(
        0, state=StepState.FAILED, attempt=1, message=ODD, outputs={"said": ODD, "zero": "\0"}
    )
    told = PipelineEvent(
        number=1, kind=EventKind.ATTEMPT_ENDED, at=NOW, data={"message": ODD, ODD: [ODD]}
    )
    request = save_request(
        "p", 1, PipelineState.PENDING, message=ODD, steps=(failed,), events=(told,)
    )
    ack, _ = await store.pipelines.save(request, now=NOW)
    assert ack.status is SaveStatus.SAVED
    record = await store.pipelines.get("p")
    assert (record.message, record.steps[0].message) == (CLEAN, CLEAN)
    assert record.steps[0].outputs == {"said": CLEAN, "zero": "\ufffd"}
    (event,) = await store.events.read(kinds=(EventKind.ATTEMPT_ENDED,))
    assert event.data == {"message": CLEAN, CLEAN: [CLEAN]}


async def test_what_nobody_can_be_called_is_found_nowhere(store: GamePipelineStore) -> None:
    await store.pipelines.add(new("p"), now=NOW)
    assert (await store.pipelines.list(PipelineFilter(name=ODD))).total == 0


@pytest.mark.parametrize("odd", ["p\0", "p\ud800"])
async def test_nobody_is_locked_by_what_nobody_can_be_called(
    store: GamePipelineStore, odd: str
) -> None:
    def work(tx: Transaction) -> None:
        assert tx.lock_pipeline(odd) is None
        assert not tx.preload(AllocationRow, [(odd, 1)])

    await store._database.write(work)


async def test_an_error_of_the_database_shows_no_values(store: GamePipelineStore) -> None:
    huge = save_request("p", 1 << 70, PipelineState.PENDING, reason="MARKED")
    await store.pipelines.add(new("p"), now=NOW)
    with pytest.raises((StatementError, OverflowError)) as failure:
        await store.pipelines.save(huge, now=NOW)
    assert "MARKED" not in str(failure.value)


@given(st.text(alphabet=st.characters(), max_size=40))
def test_clean_texts_stay_as_they_are(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()  # raises for half characters
    assert "\0" not in cleaned
    assert clean(cleaned) == cleaned
    if "\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text):
        assert cleaned == text
