"""A fully loaded agent, and a step that cannot stop talking about its progress."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import DataConverter

from gamepipe.wire import ReportKind, StepReport, workflow_id
from tests.e2e.fleet import Fleet, FleetNode
from tests.e2e.stack import RunningStack, wait_for

MAX_STEPS = 32
WAITING = 8
STOP_SECONDS = 1.0
MAX_PROGRESS = 40
HISTORY_EVENTS, HISTORY_BYTES = 51_200, 50 << 20
"""Temporal ends a workflow whose history is longer."""

BUSY_STEP = """
  - name: {name}
    type: command
    needs: []
    command: |
      echo $$ >> {ledger}/{name}
      while :; do echo busy; sleep 1; done
"""
PROGRESS_FILE = """
name: chatty
placement: {{node: local}}
steps:
  - name: chatty
    type: command
    command: |
      for tenth in $(seq 1 50); do
        for n in 0 1 2 3 4 5 6 7 8 9; do for m in 0 1 2 3 4 5 6 7 8 9; do
          echo "GAMEPIPE_PROGRESS=$tenth.$n$m mark $tenth.$n$m"
        done; done >> "$GAMEPIPE_OUTPUT"
        sleep 0.09
      done
      echo "GAMEPIPE_PROGRESS=87.5 nearly there" >> "$GAMEPIPE_OUTPUT"
      echo size=12 >> "$GAMEPIPE_OUTPUT"
      until [ -e {gate} ]; do sleep 0.05; done
"""


def busy_file(name: str, steps: list[str], ledger: Path) -> str:
    texts = [BUSY_STEP.format(name=step, ledger=ledger) for step in steps]
    return f"name: {name}\nplacement: {{node: loaded}}\nsteps:{''.join(texts)}"


class Loaded:
    """A node whose every slot is taken: by one step to be stopped, by others, more waiting."""

    def __init__(self, stack: RunningStack, node: FleetNode, ledger: Path) -> None:
        self.stack, self.node, self.ledger = stack, node, ledger
        self.victim = stack.submit(busy_file("victim", ["victim"], ledger))
        wait_for(lambda: self.groups() != {}, what="the victim to run")
        names = [f"other-{number}" for number in range(MAX_STEPS - 1 + WAITING)]
        self.others = stack.submit(busy_file("others", names, ledger))
        wait_for(lambda: len(self.groups()) == MAX_STEPS, what="every slot to be taken")

    def groups(self) -> dict[str, int]:
        """The process group of each step that has started."""
        texts = {path.name: path.read_text() for path in self.ledger.iterdir()}
        return {name: int(text) for name, text in texts.items() if text}

    def running_of_others(self) -> list[str]:
        steps = self.stack.get(self.others)["steps"]
        return sorted(step["name"] for step in steps if step["state"] == "running")


def is_gone(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return False
    return True


def seconds_until(condition: Callable[[], bool], since: float) -> float:
    while not condition():
        assert time.monotonic() - since < 30, "it never came"
        time.sleep(0.002)
    return time.monotonic() - since


def test_a_fully_loaded_agent_stops_one_step_within_a_second(fleet: Fleet, tmp_path: Path) -> None:
    node = fleet.add("loaded", "--max-steps", str(MAX_STEPS))
    node.start()
    loaded = Loaded(fleet.stack, node, tmp_path)
    groups = loaded.groups()
    doomed = groups.pop("victim")
    wait_for(lambda: len(loaded.running_of_others()) == MAX_STEPS - 1, what="the store to know")
    begun = time.monotonic()
    answer = fleet.stack.http.post(f"/pipelines/{loaded.victim}/cancel")
    assert answer.status_code == 202, answer.text
    took = seconds_until(lambda: is_gone(doomed), begun)
    print(f"gone {took:.3f} s after the cancel, beside {len(groups)} running steps")
    assert took < STOP_SECONDS
    assert fleet.stack.finish(loaded.victim)["state"] == "canceled"
    assert not [name for name, group in groups.items() if is_gone(group)]
    wait_for(lambda: len(loaded.groups()) == MAX_STEPS + 1, what="a waiting step to take the slot")
    fleet.stack.http.post(f"/pipelines/{loaded.others}/cancel")
    assert fleet.stack.finish(loaded.others)["state"] == "canceled"
    assert [group for group in loaded.groups().values() if not is_gone(group)] == []


async def read_history(stack: RunningStack, pipeline_id: str) -> tuple[WorkflowHistory, int]:
    """The history of the pipeline's workflow, and its size in bytes."""
    client = await Client.connect(stack.info["temporal_address"])
    handle = client.get_workflow_handle(workflow_id(pipeline_id))
    description = await handle.describe()
    size = description.raw_description.workflow_execution_info.history_size_bytes
    return await handle.fetch_history(), int(size)


def reports_of(history: WorkflowHistory) -> list[StepReport]:
    """What the agent signalled, in order."""
    converter = DataConverter.default.payload_converter
    found: list[Any] = []
    for event in history.events:
        signal = event.workflow_execution_signaled_event_attributes
        is_signal = event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        if is_signal and signal.signal_name == "report_step":
            found += converter.from_payloads(signal.input.payloads, [StepReport])
    return found


def test_a_thousand_reports_a_second_stay_inside_temporals_limits(
    shared_stack: RunningStack, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    pipeline_id = shared_stack.submit(PROGRESS_FILE.format(gate=gate))

    def told() -> bool:
        return bool(shared_stack.get(pipeline_id)["steps"][0]["percent"] == 87.5)

    wait_for(told, what="the last progress to be told")
    gate.touch()
    record = shared_stack.finish(pipeline_id)
    assert record["state"] == "completed", record
    assert record["steps"][0]["outputs"] == {"size": "12"}
    assert record["progress"]["percent"] == 100
    history, size = asyncio.run(read_history(shared_stack, pipeline_id))
    marks = [report for report in reports_of(history) if report.kind is ReportKind.PROGRESS]
    print(f"{len(marks)} progress signals, {len(history.events)} events, {size} bytes")
    assert 3 <= len(marks) <= MAX_PROGRESS
    percents = [mark.percent for mark in marks]
    assert percents == sorted(percents)
    assert (marks[-1].percent, marks[-1].message) == (87.5, "nearly there")
    assert len(history.events) < HISTORY_EVENTS
    assert size < HISTORY_BYTES
