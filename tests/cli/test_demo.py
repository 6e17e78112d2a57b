"""`gamepipe demo` as a new user runs it: everything is shown, nothing stays behind."""

import os
import re
import time
from pathlib import Path

import pytest

from tests.cli.terminal import Session, processes_that_know

ROOT = Path(__file__).parents[2]
STUBBORN = """
name: stubborn
steps:
  - name: stay
    type: command
    command: |
      trap '' TERM INT
      echo "I stay"
      while :; do sleep 0.1; done
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Whatever is started or kept, this folder's path is in it."""
    return os.environ | {"TMPDIR": str(tmp_path)}


def assert_nothing_is_left(folder: Path) -> None:
    assert processes_that_know(folder) == []
    assert list(folder.glob("gamepipe-*")) == []


def test_the_quickstart_completes_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = str(ROOT / "examples" / "quickstart.yaml")
    with Session("demo", file, terminal=False, environment=environment) as demo:
        assert demo.end() == 0, demo.output
    said = demo.output
    for name in ("fetch", "unpack", "play", "summary"):
        assert re.search(rf"^\[\d/4\] {name}: completed \(\d+\.\ds\)$", said, re.MULTILINE), said
    assert re.search(r"REST +http://127\.0\.0\.1:\d+/docs", said)
    assert re.search(r"Web UI: http://\S+/workflows/pipeline-quickstart-\w+$", said, re.MULTILINE)
    assert "summary │ player-one scored 4200 in quickstart-" in said
    assert re.search(r"^state +completed$", said, re.MULTILINE)
    assert "Everything was stopped, and nothing is left" in said.splitlines()[-1]
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_the_first_ctrl_c_ends_it_with_a_step_that_ignores_signals(
    environment: dict[str, str], tmp_path: Path, terminal: bool
) -> None:
    file = tmp_path / "stubborn.yaml"
    file.write_text(STUBBORN)
    with Session("demo", str(file), terminal=terminal, environment=environment) as demo:
        demo.wait_for("I stay")
        demo.interrupt()
        began = time.monotonic()
        assert demo.end() == 130, demo.output
        assert time.monotonic() - began < 5
    assert "Traceback" not in demo.output
    assert "canceling stubborn-" in demo.output
    assert_nothing_is_left(tmp_path)


def test_ctrl_c_while_it_starts_ends_it(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "stubborn.yaml"
    file.write_text(STUBBORN)
    with Session("demo", str(file), terminal=False, environment=environment) as demo:
        demo.wait_for("starting Temporal")
        demo.interrupt()
        assert demo.end(seconds=10) == 130, demo.output
    assert demo.output.splitlines() == ["starting Temporal, gateway, worker and one agent ..."]
    assert_nothing_is_left(tmp_path)


def test_a_wrong_file_is_told_before_anything_starts(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("{name: wrong, args: [MAP], steps: [{type: command, command: ls}]}")
    with Session("demo", str(file), terminal=False, environment=environment) as demo:
        assert demo.end(seconds=10) == 2
    assert demo.output == (
        "args.MAP: has no value; give it one with `--arg MAP=VALUE`\n"
        f"gamepipe: 1 mistake in {file}\n"
    )
