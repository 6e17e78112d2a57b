"""A service that came up outlives whatever becomes of the word of it."""

from collections.abc import Callable
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
from gamepipe.model.spec import StepType
from gamepipe.v1 import node_pb2, step_pb2
from gamepipe.wire import CleanWorkspace
from gamepipe.wire.message import to_message
from tests.agent.container.conftest import Bench
from tests.agent.container.test_instance import Gateway, make_watcher
from tests.agent.container.test_through_runner import assign, make_runner
from tests.waiting import eventually

pytestmark = pytest.mark.docker


async def the_end(outbox: Outbox) -> node_pb2.ConnectRequest:
    """The end of a step, once it is to be sent."""
    ends: list[node_pb2.ConnectRequest] = []

    def look() -> bool:
        ends.extend(message for message in outbox.take() if message.HasField("work_ended"))
        return bool(ends)

    await eventually(look, what="the end is told")
    return ends[0]


async def test_an_aborted_end_leaves_a_service_up(
    bench: Bench, tmp_path: Path, now: Callable[[], datetime]
) -> None:
    folders, outbox = AgentFolders(tmp_path / "agent"), Outbox()
    runner, _ = make_runner(bench, make_watcher(bench, Gateway()), folders, now)
    values = GatewayValues(GatewayChannel(("127.0.0.1:1",), lambda: None), bench.node_id)
    leases = LeaseFolder(folders.leases)
    server = StreamServer(runner, outbox, leases, values)
    key = bench.key()
    step = assign(bench, key, 0, StepType.SERVICE, "sleep 600")
    message = to_message(step, step_pb2.StepAssignment())
    server.take(node_pb2.Work(task_token=b"t1", run_id="r", run_step=message))
    ended = await the_end(outbox)
    assert ended.work_ended.step_result.HasField("instance")
    aborted = node_pb2.Answered(sequence=ended.sequence, outcome=node_pb2.OUTCOME_ABORTED)
    outbox.answered(aborted)
    await eventually(lambda: list(leases.all()) == [], what="the lease is dropped")
    facts = await bench.engine.inspect(container_name(key))
    assert facts is not None
    assert facts.is_running
    await runner.clean(CleanWorkspace(pipeline_id=key.pipeline_id, generation=1))
