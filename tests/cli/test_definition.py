"""`gamepipe validate` and `gamepipe schema`."""

import json
from pathlib import Path

import jsonschema
import pytest

from tests.cli.test_usage import gamepipe

ROOT = Path(__file__).parents[2]
WRONG = """\
name: wrong
stepz: []
steps:
  - {name: a, type: comand, command: ls}
  - {name: b, type: command, command: ls, timeout: 5 parsecs}
  - {name: b, type: command, command: ls, needs: [c]}
"""
PLACES = ["2:1", "4:21", "5:52", "6:12", "6:51"]


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    (tmp_path / "wrong.yaml").write_text(WRONG)
    return str(tmp_path / "wrong.yaml")


def test_every_mistake_is_told_at_once_with_its_place_and_what_would_be_right(wrong: str) -> None:
    done = gamepipe("validate", wrong)
    assert (done.returncode, done.stdout) == (2, "")
    *mistakes, count = done.stderr.splitlines()
    assert count == f"gamepipe: {len(PLACES)} mistakes in {wrong}"
    assert [line.split(": ")[0] for line in mistakes] == [f"{wrong}:{at}" for at in PLACES]
    assert "did you mean `steps`?" in mistakes[0]
    assert "did you mean `command`?" in mistakes[1]


def test_submit_tells_the_same(wrong: str) -> None:
    done = gamepipe("submit", wrong)
    assert (done.returncode, done.stderr) == (2, gamepipe("validate", wrong).stderr)


def test_programs_get_mistakes_as_json(wrong: str) -> None:
    done = gamepipe("validate", wrong, "-o", "json")
    assert (done.returncode, done.stderr) == (2, "")
    answer = json.loads(done.stdout)
    assert answer["valid"] is False
    assert [f"{one['line']}:{one['column']}" for one in answer["mistakes"]] == PLACES


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_the_examples_are_right(file: Path) -> None:
    done = gamepipe("validate", str(file), "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["valid"] is True


def test_the_schema_is_a_json_schema() -> None:
    done = gamepipe("schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    jsonschema.validators.validator_for(schema).check_schema(schema)
