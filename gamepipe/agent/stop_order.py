"""Stop orders of the gateway: carried out beside the stream, then confirmed on it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from gamepipe.agent.outbox import Outbox
from gamepipe.backoff import backoff
from gamepipe.v1 import node_pb2

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class StopOrdered:
    """A stop order of the gateway; `step_index` None: everything of the generation."""

    order_id: int
    pipeline_id: str
    generation: int
    step_index: int | None
    instance_id: str


class StopOrders:
    """Each is tried until it is carried out; one that is asked for again meanwhile goes on."""

    def __init__(self, carry_out: Callable[[StopOrdered], Awaitable[None]], outbox: Outbox) -> None:
        self._carry_out = carry_out
        self._outbox = outbox
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def obey(self, order: node_pb2.StopOrder) -> None:
        if order.order_id in self._tasks:
            return
        ordered = StopOrdered(
            order_id=order.order_id,
            pipeline_id=order.pipeline_id,
            generation=order.generation,
            step_index=order.step_index if order.HasField("step_index") else None,
            instance_id=order.instance_id,
        )
        self._tasks[order.order_id] = asyncio.create_task(self._obey(ordered))

    def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _obey(self, order: StopOrdered) -> None:
        try:
            for wait in backoff():
                if await self._attempt(order):
                    break
                await asyncio.sleep(wait)
            confirmed = node_pb2.StopConfirmed(order_id=order.order_id)
            self._outbox.note(node_pb2.ConnectRequest(stop_confirmed=confirmed))
        finally:
            del self._tasks[order.order_id]

    async def _attempt(self, order: StopOrdered) -> bool:
        try:
            await self._carry_out(order)
        except Exception as error:
            _log.warning(
                "stop_order.failed",
                action="stop_order.failed",
                order_id=order.order_id,
                pipeline_id=order.pipeline_id,
                error=repr(error),
            )
            return False
        return True
