"""Heartbeats of many nodes, written together: the write rate does not grow with the fleet."""

import asyncio
from collections.abc import Callable

import structlog

from gamepipe.model.errors import Forbidden, GamePipeError
from gamepipe.model.node import NodeMetrics
from gamepipe.ports import MetricsReport
from gateway.agents import AgentService

_log = structlog.get_logger()

GATHER_SECONDS = 0.5


Beat = tuple[str, int, NodeMetrics]
_Beats = list[tuple[Beat, Callable[[], None]]]
_Reports = list[tuple[MetricsReport, "asyncio.Future[None]"]]


class BeatWriter:
    """Keeps the newest heartbeat of each node and writes all of them twice a second, with what
    nodes measured beside them."""

    def __init__(self, agents: AgentService) -> None:
        self._agents = agents
        self._newest: dict[str, tuple[Beat, Callable[[], None]]] = {}
        self._reports: _Reports = []
        self._arrived = asyncio.Event()

    def add(
        self, node_id: str, session: int, metrics: NodeMetrics, *, taken: Callable[[], None]
    ) -> None:
        """`taken` is called once it is stored; never for one that a newer one replaced, nor under a
        session that is not the newest."""
        self._newest[node_id] = ((node_id, session, metrics), taken)
        self._arrived.set()

    async def report(self, report: MetricsReport) -> None:
        """Store it with the next batch. Raises what that ended with; `Forbidden` under a session
        that is not the newest any more."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reports.append((report, written))
        self._arrived.set()
        await written

    async def run(self) -> None:
        """Write until cancelled; beats that the store did not take are dropped, newer ones come."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            beats, reports = list(self._newest.values()), self._reports
            self._newest, self._reports = {}, []
            await self._write(beats, reports)
            await asyncio.sleep(GATHER_SECONDS)

    async def _write(self, beats: _Beats, reports: _Reports) -> None:
        try:
            unwanted = await self._agents.beat(
                [beat for beat, _ in beats], [report for report, _ in reports]
            )
        except GamePipeError as error:
            _log.warning("beats.unwritten", action="beats.unwritten", error=error.message)
            _settle(reports, error)
        except Exception as error:
            await self._write_apart(beats, reports, error)
        else:
            for beat, taken in beats:
                if beat[0] not in unwanted:
                    taken()
            refused = Forbidden("this session is not the node's newest")
            _settle([one for one in reports if one[0].node_id in unwanted], refused)
            _settle(reports, None)

    async def _write_apart(self, beats: _Beats, reports: _Reports, error: Exception) -> None:
        """A bad one must cost no other node."""
        if len(beats) + len(reports) == 1:
            _log.error("beats.unwritten", action="beats.unwritten", exc_info=error)
            _settle(reports, error)
            return
        for beat in beats:
            await self._write([beat], [])
        for report in reports:
            await self._write([], [report])


def _settle(reports: _Reports, error: Exception | None) -> None:
    """Tell those who wait, as far as they were not told."""
    for _, written in reports:
        if written.done():
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
