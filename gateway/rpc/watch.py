"""Keeps the open streams of one gateway to what the store says of their nodes."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog

from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import pace_of
from gamepipe.ports import NodeMark
from gateway.agents import AgentService
from gateway.awake import AwakeClock
from gateway.health import GatewayHealth
from gateway.rpc.stream import NodeStream

_log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""A look comes at least this often; a write anywhere brings it forward."""
APART_SECONDS = 0.2
LOOKING_SHARE = 0.02
"""Of the time, at most: in a large fleet something is written all the time."""


class StreamWatch:
    """One query for all nodes: newer sessions and streams elsewhere, states, stop orders, pace."""

    def __init__(
        self,
        agents: AgentService,
        streams: Mapping[str, NodeStream],
        *,
        ttl: timedelta,
        health: GatewayHealth,
        clock: AwakeClock,
    ) -> None:
        self._agents = agents
        self._streams = streams
        self._health = health
        self._clock = clock
        self._ttl = ttl
        self.pace = pace_of(0, ttl)
        """Of the fleet as it was seen last."""

    async def run(self) -> None:
        """Look until cancelled: at the streams themselves, however long the store takes to say what
        it knows of their nodes."""
        await asyncio.gather(self._keep_leaving(), self._keep_looking())

    async def _keep_leaving(self) -> None:
        while True:
            self._leave(list(self._streams.values()))
            await asyncio.sleep(APART_SECONDS)

    async def _keep_looking(self) -> None:
        wakeup = self._agents.wakeup()
        while True:
            await wakeup.wait(timeout_seconds=LOOK_SECONDS)
            begun = time.monotonic()
            # Before the store is asked: what it says is of no older time than any of them.
            streams = list(self._streams.values())
            try:
                if streams:
                    await self._look(streams, await self._agents.marks())
            except GamePipeError as error:
                _log.warning("streams.unwatched", action="streams.unwatched", error=error.message)
            except Exception as error:  # the next look may go well
                _log.error("streams.unwatched", action="streams.unwatched", exc_info=error)
            took = time.monotonic() - begun
            await asyncio.sleep(min(LOOK_SECONDS, max(APART_SECONDS, took / LOOKING_SHARE)))

    def _leave(self, streams: Sequence[NodeStream]) -> None:
        """End the streams that are silent, and those that another gateway can do more for."""
        for stream in streams:
            self._end_if_silent(stream)
            if trouble := self._health.trouble(relays=stream.relays):
                _log.warning(
                    "stream.left", action="stream.left", node_id=stream.node_id, reason=trouble
                )
                stream.close()

    async def _look(self, streams: Sequence[NodeStream], marks: Mapping[str, NodeMark]) -> None:
        pace = self.pace = pace_of(len(marks), self._ttl)
        for stream in streams:
            mark = marks.get(stream.node_id)
            if mark is None or stream.is_ahead_of(mark):
                self._end_unknown(stream)
                continue
            await stream.heed(mark)
            stream.set_pace(pace)

    @staticmethod
    def _end_unknown(stream: NodeStream) -> None:
        """The store went back, to a backup say: nothing that this agent says is stored any more,
        until it registers anew."""
        _log.warning(
            "stream.unknown",
            action="stream.unknown",
            node_id=stream.node_id,
            session=stream.session,
        )
        stream.close()

    def _end_if_silent(self, stream: NodeStream) -> None:
        """Nothing came for three heartbeats: the other end is gone without a word, and its queue
        must not be served here any longer. Time in which this process stood still does not count:
        nobody could be heard then."""
        silence = self._clock.time() - stream.heard_at
        if silence > self.pace.ttl.total_seconds() / 2:
            _log.warning(
                "stream.silent",
                action="stream.silent",
                node_id=stream.node_id,
                silent_seconds=round(silence, 1),
            )
            stream.close()
