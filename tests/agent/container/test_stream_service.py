"""A service that came up outlives whatever becomes of the word of it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from gamepipe.agent.channel import GatewayChannel
from gamepipe.agent.container_facts import container_name
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.gateway_values import GatewayValues
from gamepipe.agent.lease import LeaseFolder
from gamepipe.agent.outbox import Outbox
from gamepipe.agent.stream_server import StreamServer
from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import Healthcheck, StepType
from gamepipe.v1 import node_pb2, step_pb2
from gamepipe.wire import CleanWorkspace
from gamepipe.wire.message import to_message
from tests.agent.container.conftest import Bench
from tests.agent.container.test_instance import Gateway, make_watcher
from tests.agent.container.test_through_runner import assign, make_runner
from tests.waiting import eventually

pytestmark = pytest.mark.docker


class Rig:
    """An agent with real containers whose stream is read and answered by the test."""

    def __init__(self, bench: Bench, folders: AgentFolders, now: Callable[[], datetime]) -> None:
        self.outbox = Outbox()
        self.runner, _ = make_runner(bench, make_watcher(bench, Gateway()), folders, now)
        values = GatewayValues(GatewayChannel(("127.0.0.1:1",), lambda: None), bench.node_id)
        self.leases = LeaseFolder(folders.leases)
        self.server = StreamServer(self.runner, self.outbox, self.leases, values)
        self.sent: list[node_pb2.ConnectRequest] = []

    async def until_sent(self, kind: str) -> node_pb2.ConnectRequest:
        def look() -> bool:
            self.sent.extend(self.outbox.take())
            return any(message.HasField(kind) for message in self.sent)

        await eventually(look, what=f"{kind} is told")
        return next(message for message in self.sent if message.HasField(kind))

    def abort(self, message: node_pb2.ConnectRequest) -> None:
        aborted = node_pb2.Answered(sequence=message.sequence, outcome=node_pb2.OUTCOME_ABORTED)
        self.outbox.answered(aborted)

    async def until_dropped(self) -> None:
        await eventually(lambda: list(self.leases.all()) == [], what="the lease is dropped")


async def test_a_service_whose_end_was_remembered_nowhere_outlives_its_lease(
    bench: Bench, tmp_path: Path, now: Callable[[], datetime]
) -> None:
    """The disk was full when it came up, and the agent died before it could tell of it."""
    folders, key = AgentFolders(tmp_path / "agent"), bench.key()
    first = Rig(bench, folders, now)
    step = assign(bench, key, 0, StepType.SERVICE, "sleep 600")
    message = to_message(replace(step, stop_when_cut_off=True), step_pb2.StepAssignment())
    work = node_pb2.Work(task_token=b"t1", run_id="r", run_step=message)
    first.server.take(work)
    await first.until_sent("work_ended")
    (entry,) = (folders.journal / key.path).parent.glob("a1.json")
    begun = json.loads(entry.read_bytes()) | {"result": None}
    entry.write_text(json.dumps(begun))
    second = Rig(bench, folders, now)
    serving = asyncio.create_task(second.server.run())
    second.abort(await second.until_sent("work_beat"))
    await second.until_dropped()
    await second.runner.stop_cut_off()
    assert await is_running(bench, key)
    serving.cancel()
    await second.runner.stop_generation(key.pipeline_id, 1, 0, grace_seconds=0.0)
    assert not await is_running(bench, key)


async def test_a_service_that_is_still_coming_up_ends_with_its_lease(
    bench: Bench, tmp_path: Path, now: Callable[[], datetime]
) -> None:
    rig, key = Rig(bench, AgentFolders(tmp_path / "agent"), now), bench.key()
    check = Healthcheck(test=("CMD", "false"), interval_seconds=60.0, start_period_seconds=600.0)
    step = assign(bench, key, 0, StepType.SERVICE, "sleep 600", healthcheck=check)
    message = to_message(step, step_pb2.StepAssignment())
    rig.server.take(node_pb2.Work(task_token=b"t1", run_id="r", run_step=message))
    rig.abort(await rig.until_sent("step_reported"))
    await rig.until_sent("work_ended")
    assert not await is_running(bench, key)


async def is_running(bench: Bench, key: AttemptKey) -> bool:
    facts = await bench.engine.inspect(container_name(key))
    return facts is not None and facts.is_running


async def test_an_aborted_end_leaves_a_service_up(
    bench: Bench, tmp_path: Path, now: Callable[[], datetime]
) -> None:
    rig, key = Rig(bench, AgentFolders(tmp_path / "agent"), now), bench.key()
    step = assign(bench, key, 0, StepType.SERVICE, "sleep 600")
    message = to_message(step, step_pb2.StepAssignment())
    rig.server.take(node_pb2.Work(task_token=b"t1", run_id="r", run_step=message))
    ended = await rig.until_sent("work_ended")
    assert ended.work_ended.step_result.HasField("instance")
    rig.abort(ended)
    await rig.until_dropped()
    assert await is_running(bench, key)
    await rig.runner.clean(CleanWorkspace(pipeline_id=key.pipeline_id, generation=1))
