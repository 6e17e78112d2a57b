"""`kill -9`: of everything, and of each process in turn. Nothing runs twice, no line is missing."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.stack import RunningStack, wait_for
from tests.stack_fixtures import StartStack, started

MakeStack = Callable[..., RunningStack]
COUNT = 40

FILE = """
name: crash
steps:
  - name: one
    type: command
    command: echo ran >> {ledger}/one; for n in $(seq 1 {count}); do echo "one $n"; done
  - name: two
    type: command
    command: |
      echo ran >> {ledger}/two
      for n in $(seq 1 {count}); do echo "two $n"; sleep 0.1; done
      cat {ledger}/gate
  - name: three
    type: command
    command: echo ran >> {ledger}/three; for n in $(seq 1 {count}); do echo "three $n"; done
"""


@pytest.fixture(scope="module")
def mended_stack(
    prepare_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """One that is whole again behind each test: it starts anew what was killed."""
    with started(prepare_stack(tmp_path_factory.mktemp("mended"))) as stack:
        yield stack


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where each run of a step leaves a line, and a gate that step two waits at."""
    folder = tmp_path / "ledger"
    folder.mkdir()
    os.mkfifo(folder / "gate")
    return folder


def open_gate(ledger: Path, stack: RunningStack) -> None:
    """Once step two waits there."""

    def opened() -> bool:
        with suppress(OSError):  # nobody reads yet
            gate = os.open(ledger / "gate", os.O_WRONLY | os.O_NONBLOCK)
            os.write(gate, b"gate open\n")
            os.close(gate)
            return True
        return False

    try:
        wait_for(opened, what="step two to wait at the gate")
    except AssertionError as error:
        shown = stack.run("list", "-o", "json").stdout, stack.output()[-20_000:]
        raise AssertionError("\n".join(shown)) from error


def expected_lines() -> list[str]:
    numbers = range(1, COUNT + 1)
    return [
        *(f"one {n}" for n in numbers),
        *(f"two {n}" for n in numbers),
        "gate open",
        *(f"three {n}" for n in numbers),
    ]


def hold(stack: RunningStack, pipeline_id: str, ledger: Path) -> None:
    """It completed, each step ran once in one attempt, and every line is there once."""
    record = stack.finish(pipeline_id)
    assert record["state"] == "completed", record
    assert [step["attempt"] for step in record["steps"]] == [1, 1, 1]
    for step in ("one", "two", "three"):
        assert (ledger / step).read_text() == "ran\n"
    assert stack.lines(pipeline_id) == expected_lines()


def begin(stack: RunningStack, ledger: Path) -> str:
    """A pipeline in the middle of step two."""
    pipeline_id = stack.submit(FILE.format(ledger=ledger, count=COUNT))
    stack.wait_line(pipeline_id, "two 5")
    return pipeline_id


def test_a_pipeline_survives_the_death_of_every_process(
    make_stack: MakeStack, ledger: Path
) -> None:
    stack = make_stack()
    pipeline_id = begin(stack, ledger)
    stack.kill_everything()
    stack.start()
    open_gate(ledger, stack)
    hold(stack, pipeline_id, ledger)
    assert stack.interrupt() < 3


@pytest.mark.parametrize("name", ["temporal", "worker", "gateway", "agent"])
def test_a_pipeline_survives_the_death_of_a_process(
    mended_stack: RunningStack, ledger: Path, name: str
) -> None:
    stack = mended_stack
    pipeline_id = begin(stack, ledger)
    stack.kill(name)
    open_gate(ledger, stack)
    hold(stack, pipeline_id, ledger)


def test_ctrl_c_leaves_no_process_and_no_traceback(make_stack: MakeStack) -> None:
    stack = make_stack()
    pids = list(stack.info["pids"].values())
    assert stack.interrupt() < 3
    assert "Traceback" not in stack.output()
    for pid in pids:
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), what=f"{pid} to be gone")
    assert not (stack.data_dir / "stack.json").exists()


def test_a_second_stack_on_the_same_data_is_refused(mended_stack: RunningStack) -> None:
    stack = mended_stack
    second = stack.run("up", "--data-dir", str(stack.data_dir), "--free-ports")
    assert second.returncode == 1
    assert "another stack runs on" in second.stderr
    assert str(stack.process.pid if stack.process else "") in second.stderr
    assert "Traceback" not in second.stderr
    assert stack.http.get("/nodes").status_code == 200
