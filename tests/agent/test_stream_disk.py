"""An agent that takes its work from a stream, on a disk that is slow or full."""

import contextlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gamepipe.agent import lease
from gamepipe.agent.lease import LeaseFolder
from gamepipe.model import reason as reasons
from tests.agent.gateway import Gateway
from tests.agent.making import assignment
from tests.agent.test_stream_server import (
    ENDLESS,
    StreamAgent,
    agent,
    ends,
    send_step,
    told,
    until_beat,
)

__all__ = ["agent"]


async def test_a_slow_disk_holds_up_the_acceptance_and_nothing_else(
    agent: StreamAgent, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
):
    written, write = threading.Event(), lease.write_durably

    def write_slowly(path: Path, content: bytes) -> None:
        written.wait(20)
        write(path, content)

    monkeypatch.setattr(lease, "write_durably", write_slowly)
    step = assignment(ENDLESS)
    await send_step(gateway, b"t1", step)
    await send_step(gateway, b"t2", replace(step, dispatch=2))
    await until_beat(gateway)
    assert told(gateway, "work_accepted") == []
    written.set()
    await agent.node.until_line("up")
    assert [one.task_token for one in told(gateway, "work_accepted")] == [b"t2"]
    (kept,) = LeaseFolder(agent.node.folders.leases).all()
    assert kept.token == b"t2"


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(65536)):
            pass


async def test_a_full_disk_ends_the_step_with_its_reason(gateway: Gateway, small_disk: Path):
    agent = StreamAgent(gateway, small_disk / "agent")
    await agent.start()
    fill(small_disk)
    await send_step(gateway, b"t1", assignment("true"))
    await gateway.until(lambda: ends(gateway) == [b"t1"])
    assert told(gateway, "work_ended")[0].step_result.reason == reasons.DISK_FULL
    await agent.close()
