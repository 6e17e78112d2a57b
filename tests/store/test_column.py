"""Columns of domain values."""

import pytest
from sqlalchemy.dialects import sqlite

from gamepipe.model.spec import PipelineSpec
from store import column
from store.column import AsJson
from tests.store.shapes import spec

DIALECT = sqlite.dialect()


@pytest.fixture
def text() -> str:
    column_type: AsJson[PipelineSpec] = AsJson(PipelineSpec)
    return column_type.process_bind_param(spec(), DIALECT) or ""


def test_rows_with_the_same_text_share_its_value(text: str) -> None:
    shared: AsJson[PipelineSpec] = AsJson(PipelineSpec, shared=True)
    one, other = (shared.process_result_value(text, DIALECT) for _ in range(2))
    assert one == spec()
    assert one is other


def test_a_long_text_is_not_remembered(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column, "KEPT_CHARACTERS", len(text) - 1)
    shared: AsJson[PipelineSpec] = AsJson(PipelineSpec, shared=True)
    one, other = (shared.process_result_value(text, DIALECT) for _ in range(2))
    assert one == other
    assert one is not other


def test_others_have_a_value_of_their_own() -> None:
    own: AsJson[dict[str, str]] = AsJson(dict[str, str])
    one, other = (own.process_result_value('{"a":"b"}', DIALECT) for _ in range(2))
    assert one == other == {"a": "b"}
    assert one is not other
