"""Heartbeats of many nodes, written together: the write rate does not grow with the fleet."""

import asyncio

import structlog

from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import NodeMetrics
from gateway.agents import AgentService

_log = structlog.get_logger()

GATHER_SECONDS = 0.5


class BeatWriter:
    """Keeps the newest heartbeat of each node and writes all of them twice a second."""

    def __init__(self, agents: AgentService) -> None:
        self._agents = agents
        self._newest: dict[str, tuple[int, NodeMetrics]] = {}
        self._arrived = asyncio.Event()

    def add(self, node_id: str, session: int, metrics: NodeMetrics) -> None:
        self._newest[node_id] = (session, metrics)
        self._arrived.set()

    async def run(self) -> None:
        """Write until cancelled; beats that the store did not take are dropped, newer ones come."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            beats = [(node_id, *beat) for node_id, beat in self._newest.items()]
            self._newest.clear()
            try:
                await self._agents.beat(beats)
            except GamePipeError as error:
                _log.warning("beats.unwritten", action="beats.unwritten", error=error.message)
            except Exception as error:  # one bad heartbeat must not end the gateway
                _log.error("beats.unwritten", action="beats.unwritten", exc_info=error)
            await asyncio.sleep(GATHER_SECONDS)
