"""docs/scheduling.md has every cause, term and capacity as the code has them."""

from dataclasses import fields

from gamepipe.scheduling import score
from gamepipe.scheduling.change import CODES
from gamepipe.scheduling.policy import Capacity, Weights
from tests.docs.test_pages import ROOT
from tests.docs.test_settings import tables

PAGE = (ROOT / "docs" / "scheduling.md").read_text()
TABLES = {next(iter(table[0])): table for table in tables(PAGE)}


def defaults(kind: type[Weights] | type[Capacity]) -> dict[str, str]:
    return {field.name: str(getattr(kind(), field.name)) for field in fields(kind)}


def shown(heading: str, value: str) -> dict[str, str]:
    return {row[heading].strip("`"): row[value] for row in TABLES[heading]}


def test_every_cause_has_a_meaning_and_a_remedy() -> None:
    rows = TABLES["code"]
    assert sorted(row["code"].strip("`") for row in rows) == sorted(CODES)
    assert all(row["the node"] and row["what to do"] for row in rows)


def test_every_term_has_its_weight_and_its_unit() -> None:
    assert shown("term", "weight") == defaults(Weights)
    assert all(row["one unit is"] for row in TABLES["term"])


def test_a_cost_without_a_weight_is_told_of() -> None:
    weightless = set(score._TERMS) - set(defaults(Weights))
    assert weightless == {"avoided"}
    assert f"`avoided`, {score.AVOIDED:.0f} for a node" in PAGE


def test_every_capacity_has_its_default() -> None:
    assert shown("capacity", "default") == defaults(Capacity)


def test_the_units_are_those_of_the_code() -> None:
    assert f"| {score.LATENCY_UNIT_MS:.0f} ms between" in PAGE
    assert f"; {score.UNKNOWN_LATENCY:.0f} units where nothing is known" in PAGE
