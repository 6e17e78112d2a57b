"""docs/deployment.md names every setting of gateway, worker and agent as the code has it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pydantic_settings import BaseSettings

from gamepipe.agent.settings import AgentSettings
from gamepipe.config import Settings
from tests.docs.test_pages import ROOT, options

PAGE = (ROOT / "docs" / "deployment.md").read_text()
CLASSES: tuple[type[BaseSettings], ...] = (Settings, AgentSettings)
DEPLOYED = ("docker-compose.temporal.yml", "gamepipe/cli/client.py", "gamepipe/cli/option.py")
"""Where other variables than those of the settings may come from."""
DEFAULTS_OF_THE_MACHINE = {
    "GAMEPIPE_AGENT_NODE_ID": "host name",
    "GAMEPIPE_AGENT_DATA_DIR": "by user",
}
NO_SETTING = {"--help"}
_CODE = re.compile(r"`([^`]*)`")
_NAME = re.compile(r"\bGAMEPIPE(?:_[A-Z]+)+\b")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a settings table."""

    environment: str
    default: str
    unit: str
    meaning: str
    flags: tuple[str, ...] = ()

    @classmethod
    def read(cls, cells: dict[str, str]) -> "Row":
        return cls(
            environment=cells["environment"].strip("`"),
            default=cells["default"],
            unit=cells["unit"],
            meaning=cells["meaning"],
            flags=tuple(_CODE.findall(cells.get("flag", ""))),
        )


def tables(text: str) -> Iterator[list[dict[str, str]]]:
    """Every Markdown table, a mapping from heading to cell for each of its lines."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        heading, _, *lines = (
            [cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()
        )
        yield [dict(zip(heading, line, strict=True)) for line in lines]


ROWS = [Row.read(cells) for table in tables(PAGE) if "environment" in table[0] for cells in table]


def variable(settings: type[BaseSettings], field: str) -> str:
    return f"{settings.model_config['env_prefix']}{field}".upper()


FIELDS = {variable(kind, field): (kind, field) for kind in CLASSES for field in kind.model_fields}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults are those of an environment that says nothing."""
    for name in (*FIELDS, "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_the_tables_name_every_setting_once_and_nothing_else() -> None:
    assert sorted(row.environment for row in ROWS) == sorted(FIELDS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.environment)
def test_the_default_is_what_the_page_says(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in code style can be given as it stands, and then changes nothing."""
    settings, field = FIELDS[row.environment]
    default = getattr(settings(), field)
    if row.environment in DEFAULTS_OF_THE_MACHINE:
        assert row.default == DEFAULTS_OF_THE_MACHINE[row.environment]
    elif row.default == "unset":
        assert default is None
    elif row.default == "empty":
        monkeypatch.setenv(row.environment, "")
        assert getattr(settings(), field) == default
        assert not default
    else:
        (shown,) = _CODE.findall(row.default)
        monkeypatch.setenv(row.environment, shown)
        assert getattr(settings(), field) == default


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.environment)
def test_durations_are_in_seconds_and_everything_has_a_meaning(row: Row) -> None:
    settings, field = FIELDS[row.environment]
    default = getattr(settings(), field)
    annotation = str(settings.model_fields[field].annotation)
    is_number = "float" in annotation and "dict" not in annotation
    is_duration = isinstance(default, timedelta | float) or is_number
    assert (row.unit == "seconds") == is_duration
    assert row.meaning


def test_the_tables_name_every_flag_of_the_agent() -> None:
    shown = [flag for row in ROWS for flag in row.flags]
    assert sorted(shown) == sorted(options("agent") - NO_SETTING)


@pytest.mark.parametrize("row", [row for row in ROWS if row.flags], ids=lambda row: row.environment)
def test_a_flag_stands_beside_its_setting(row: Row) -> None:
    """The setting's name begins as the flag's does; two flags stand for parts of a location."""
    field = FIELDS[row.environment][1]
    if field == "location":
        assert row.flags == ("--region", "--zone")
    else:
        (flag,) = row.flags
        assert field.startswith(flag.removeprefix("--").replace("-", "_"))


def test_no_variable_is_named_that_nothing_reads() -> None:
    elsewhere = {name for path in DEPLOYED for name in _NAME.findall((ROOT / path).read_text())}
    assert set(_NAME.findall(PAGE)) <= FIELDS.keys() | elsewhere
