"""What a gateway does for a whole fleet costs it little more than for one node."""

import asyncio
import os
import resource
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from gamepipe.model.node import GameNode
from gamepipe.ports import NodeSession
from gamepipe.wire import node_queue
from gateway.agents import AgentService
from gateway.file_limit import raise_file_limit
from gateway.rpc.node_service import GREETED_AT_ONCE
from tests.gateway.conftest import Gateway, gateway
from tests.reference.client import ReferenceNode
from tests.waiting import eventually

__all__ = ["gateway"]


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


async def is_served(gateway: Gateway, node_id: str) -> bool:
    """Whether a worker polls its queue."""
    answer = await gateway.client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace="default",
            task_queue=TaskQueue(name=node_queue(node_id)),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
    )
    return bool(answer.pollers)


async def join(gateway: Gateway, stack: AsyncExitStack, node_id: str) -> None:
    """Until its queue is served."""
    node = ReferenceNode(node_id)
    stack.push_async_callback(node.leave)
    await node.register(gateway.grpc_address)
    await node.connect()
    await eventually(lambda: is_served(gateway, node_id), what=f"the queue of {node_id}")


async def test_a_node_costs_a_gateway_no_thread(gateway: Gateway) -> None:
    """Counted in this process, which the gateway of this test is a part of."""
    async with AsyncExitStack() as stack:
        await join(gateway, stack, "first")
        before = threads()
        for number in range(20):
            await join(gateway, stack, f"n{number}")
        assert threads() < before + 10


async def test_a_fleet_that_comes_at_once_is_greeted_in_turn(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many agents come, those who ask for something else find the store free."""
    greeted, most = 0, 0
    really_connect = AgentService.connect

    async def connect(agents: AgentService, session: NodeSession) -> GameNode:
        nonlocal greeted, most
        greeted += 1
        most = max(most, greeted)
        try:
            return await really_connect(agents, session)
        finally:
            greeted -= 1

    monkeypatch.setattr(AgentService, "connect", connect)
    async with AsyncExitStack() as stack:
        nodes = [ReferenceNode(f"n{number}") for number in range(4 * GREETED_AT_ONCE)]
        for node in nodes:
            stack.push_async_callback(node.leave)
            await node.register(gateway.grpc_address)
        await asyncio.gather(*(node.connect() for node in nodes))
    assert 1 < most <= GREETED_AT_ONCE


async def test_a_gateway_may_open_all_the_files_that_the_system_grants() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        with capture_logs() as logs:
            assert raise_file_limit(few=hard) == hard
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
            assert logs == []
            raise_file_limit(few=hard + 1)
        assert [one["action"] for one in logs] == ["files.few"]
        assert "LimitNOFILE" in logs[0]["remedy"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
