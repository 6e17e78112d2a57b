"""What comes down from the gateway, done by the runner and the watcher of instances."""

import asyncio
from collections.abc import Callable, Iterable

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
        may_run: Callable[[str], bool] = lambda _: True,
        observe: Callable[[Observation], None],
        grace_seconds: float,
        server: StreamServer,
    ) -> None:
        """
        Args:
            watcher: None: the agent was started without a Docker engine.
            may_run: whether a container of an instance was ever made here, which an engine that
                does not answer cannot tell.
        """
        self._runner = runner
        self._watcher = watcher
        self._may_run = may_run
        self._observe = observe
        self._grace = grace_seconds
        self._server = server
        self._accounting: asyncio.Task[None] | None = None

    async def on_welcome(self, instance_ids: tuple[str, ...]) -> None:
        _log.info("link.open", action="link.open", instances=len(instance_ids))
        self.close()
        if self._watcher is None:
            self._tell_lost(instance_ids, "its agent was started without a Docker engine")
        else:
            self._accounting = asyncio.create_task(self._account(self._watcher, instance_ids))

    def close(self) -> None:
        """Account for nothing any more: the engine's client is about to be closed."""
        if self._accounting is not None:
            self._accounting.cancel()

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
        """Say how each instance is that the server believes alive, once the engine answers; of
        those that never ran here at once, for there may be no engine."""
        left = set(instance_ids)
        for wait in backoff():
            try:
                await watcher.report_all()
                here = await watcher.snapshot()
            except EngineError:
                elsewhere = {name for name in left if not self._may_run(name)}
                self._tell_lost(elsewhere, "no container of it was ever made here")
                left -= elsewhere
                await asyncio.sleep(wait)
                continue
            self._tell_lost(left - set(here), "its container is not there any more")
            return

    def _tell_lost(self, instance_ids: Iterable[str], message: str) -> None:
        for name in instance_ids:
            lost = Observation(instance_id=name, state=InstanceState.LOST, message=message)
            self._observe(lost)


def _step_of(order: StopOrdered) -> int:
    """The step's index; an instance's id ends in it."""
    if order.step_index is not None:
        return order.step_index
    return int(order.instance_id.rpartition(".s")[2])
