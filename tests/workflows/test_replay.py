"""Committed histories replay: a change of the workflow never breaks a pipeline that runs.

`make histories` records them anew; do that only for a change that CONTRIBUTING.md allows.
"""

import os
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.workflows.conftest import Stack
from tests.workflows.shapes import SHAPES
from workflows.pipeline import GamePipeline

HISTORIES = Path(__file__).parent / "histories"
COMMITTED = sorted(str(path.relative_to(HISTORIES)) for path in HISTORIES.rglob("*.json"))
LOCAL_ACTIVITY = "core_local_activity"
"""The name of its marker. Runs that began before ADR 20 have some."""
RECORDING = bool(os.environ.get("GAMEPIPE_RECORD_HISTORIES"))


@pytest.mark.parametrize("name", SHAPES)
async def test_a_shape_ends_and_its_own_history_replays(stack: Stack, name: str) -> None:
    handle = await SHAPES[name](stack)
    record = await stack.finish(handle)
    assert record.state.is_terminal
    history = await handle.fetch_history()
    assert LOCAL_ACTIVITY not in history.to_json(), "see docs/adr/0020"
    await replay_and_record(history, name)


async def replay_and_record(history: WorkflowHistory, name: str) -> None:
    """A history that was just made replays; `make histories` keeps it."""
    await Replayer(workflows=[GamePipeline]).replay_workflow(history)
    if RECORDING:
        HISTORIES.mkdir(exist_ok=True)
        (HISTORIES / f"{name}.json").write_text(history.to_json(), encoding="utf-8")


def test_every_shape_has_a_committed_history() -> None:
    assert set(COMMITTED) >= {f"{name}.json" for name in SHAPES}


@pytest.mark.parametrize("name", COMMITTED)
async def test_a_committed_history_replays(name: str) -> None:
    text = (HISTORIES / name).read_text(encoding="utf-8")
    history = WorkflowHistory.from_json(f"pipeline-{Path(name).stem}", text)
    await Replayer(workflows=[GamePipeline]).replay_workflow(history)
