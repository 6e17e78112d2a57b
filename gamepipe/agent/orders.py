"""What comes down from the gateway, done by the runner and the watcher of instances."""

import asyncio
from collections.abc import Callable

import structlog

from gamepipe.agent.container_engine import EngineError
from gamepipe.agent.instance import InstanceWatcher
from gamepipe.agent.observation import Observation
from gamepipe.agent.runner import StepRunner
from gamepipe.agent.stop_order import StopOrdered
from gamepipe.agent.stream_server import StreamServer
from gamepipe.backoff import backoff
from gamepipe.model.state import InstanceState
from gamepipe.v1 import node_pb2
from gamepipe.wire import StopInstanceOrder

_log = structlog.get_logger()


class NodeOrders:
    """The `LinkHandler` of an agent."""

    def __init__(
        self,
        runner: StepRunner,
        *,
        watcher: InstanceWatcher | None,
        observe: Callable[[Observation], None],
        grace_seconds: float,
        server: StreamServer,
    ) -> None:
        self._runner = runner
        self._watcher = watcher
        self._observe = observe
        self._grace = grace_seconds
        self._server = server
        self._accounting: asyncio.Task[None] | None = None

    async def on_welcome(self, instance_ids: tuple[str, ...]) -> None:
        _log.info("link.open", action="link.open", instances=len(instance_ids))
        if self._accounting is not None:
            self._accounting.cancel()
        if self._watcher is not None:
            self._accounting = asyncio.create_task(self._account(self._watcher, instance_ids))

    async def on_stop_ordered(self, order: StopOrdered) -> None:
        _log.info(
            "stop.ordered",
            action="stop.ordered",
            order_id=order.order_id,
            pipeline_id=order.pipeline_id,
            instance_id=order.instance_id,
        )
        if order.instance_id:
            await self._stop_instance(order)
            return
        await self._runner.stop_generation(
            order.pipeline_id, order.generation, order.step_index, grace_seconds=self._grace
        )

    async def on_node_state(self, state: str) -> None:
        _log.info("node.state", action="node.state", state=state)

    def on_work(self, work: node_pb2.Work) -> None:
        self._server.take(work)

    async def on_lease_lost(self, lost: node_pb2.LeaseLost) -> None:
        self._server.lose(lost)

    async def _stop_instance(self, order: StopOrdered) -> None:
        end = await self._runner.stop_instance(
            StopInstanceOrder(
                instance_id=order.instance_id,
                pipeline_id=order.pipeline_id,
                generation=order.generation,
                step_index=_step_of(order),
                grace_seconds=self._grace,
            )
        )
        self._observe(
            Observation(
                instance_id=order.instance_id,
                state=InstanceState.STOPPED,
                exit_code=end.exit_code,
                message=end.message,
            )
        )

    async def _account(self, watcher: InstanceWatcher, instance_ids: tuple[str, ...]) -> None:
        """Say how each instance is that the server believes alive, once the engine answers."""
        for wait in backoff():
            try:
                await watcher.report_all()
                here = await watcher.snapshot()
            except EngineError:
                await asyncio.sleep(wait)
                continue
            for name in set(instance_ids) - set(here):
                message = "its container is not there any more"
                lost = Observation(instance_id=name, state=InstanceState.LOST, message=message)
                self._observe(lost)
            return


def _step_of(order: StopOrdered) -> int:
    """The step's index; an instance's id ends in it."""
    if order.step_index is not None:
        return order.step_index
    return int(order.instance_id.rpartition(".s")[2])
