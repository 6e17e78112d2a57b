"""Heartbeats of many nodes, written together: the write rate does not grow with the fleet."""

import asyncio
from collections.abc import Callable

import structlog

from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import NodeMetrics
from gateway.agents import AgentService

_log = structlog.get_logger()

GATHER_SECONDS = 0.5


Beat = tuple[str, int, NodeMetrics]


class BeatWriter:
    """Keeps the newest heartbeat of each node and writes all of them twice a second."""

    def __init__(self, agents: AgentService) -> None:
        self._agents = agents
        self._newest: dict[str, tuple[Beat, Callable[[], None]]] = {}
        self._arrived = asyncio.Event()

    def add(
        self, node_id: str, session: int, metrics: NodeMetrics, *, taken: Callable[[], None]
    ) -> None:
        """`taken` is called once it is stored; never for one that a newer one replaced."""
        self._newest[node_id] = ((node_id, session, metrics), taken)
        self._arrived.set()

    async def run(self) -> None:
        """Write until cancelled; beats that the store did not take are dropped, newer ones come."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            beats = list(self._newest.values())
            self._newest.clear()
            await self._write(beats)
            await asyncio.sleep(GATHER_SECONDS)

    async def _write(self, beats: list[tuple[Beat, Callable[[], None]]]) -> None:
        try:
            await self._agents.beat([beat for beat, _ in beats])
        except GamePipeError as error:
            _log.warning("beats.unwritten", action="beats.unwritten", error=error.message)
        except Exception as error:
            if len(beats) == 1:
                _log.error("beats.unwritten", action="beats.unwritten", exc_info=error)
            for one in beats if len(beats) > 1 else ():  # a bad one must cost no other node
                await self._write([one])
        else:
            for _, taken in beats:
                taken()
