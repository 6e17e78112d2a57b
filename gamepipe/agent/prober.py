"""Reports round trips to the places that were configured, with `ReportMetrics`, again and again."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

import grpc
import structlog

from gamepipe.agent.channel import GatewayChannel, TokenUnreadable, describe
from gamepipe.agent.probe import ProbeTarget, round_trip_ms
from gamepipe.v1 import node_pb2

_log = structlog.get_logger()

JITTER = 0.2
"""Of the interval, earlier or later: a fleet that was started at once does not report at once."""
FIRST_SECONDS = 10.0
"""Within which the first report comes."""
_CALL_SECONDS = 10.0


class RoundTripProber:
    """Nothing waits for it: a target or a gateway that does not answer costs its own figure."""

    def __init__(
        self,
        channel: GatewayChannel,
        node_id: str,
        targets: Sequence[ProbeTarget],
        *,
        interval_seconds: float,
        wanted: Callable[[], bool],
    ) -> None:
        """`wanted`: whether the gateway takes such reports."""
        self._channel = channel
        self._node_id = node_id
        self._targets = targets
        self._interval = interval_seconds
        self._wanted = wanted
        self._silent: set[ProbeTarget] = set()

    async def run(self) -> None:
        """Measure and report until cancelled."""
        if not self._targets:
            return
        wait = random.uniform(0.0, min(self._interval, FIRST_SECONDS))  # noqa: S311 - no secret
        while True:
            await asyncio.sleep(wait)
            await self._report(await self.measure())
            wait = self._interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311

    async def measure(self) -> dict[str, float]:
        """Milliseconds by region, to the nearest of its targets that answers."""
        found: dict[str, float] = {}
        for target in self._targets:  # one by one, so that they do not disturb each other
            milliseconds = await self._ask(target)
            if milliseconds is not None:
                found[target.region] = min(milliseconds, found.get(target.region, milliseconds))
        return found

    async def _ask(self, target: ProbeTarget) -> float | None:
        try:
            milliseconds = await round_trip_ms(target)
        except Exception as error:  # whatever it is: no probe ends the agent
            self._note_silent(target, error)
            return None
        if target in self._silent:
            self._silent.discard(target)
            _log.info("probe.answered", action="probe.answered", target=str(target))
        return milliseconds

    def _note_silent(self, target: ProbeTarget, error: Exception) -> None:
        """Once, until it answers again."""
        if target in self._silent:
            return
        self._silent.add(target)
        _log.warning(
            "probe.unanswered",
            action="probe.unanswered",
            target=str(target),
            error=repr(error),
            remedy="name something that accepts TCP connections there with --probe",
        )

    async def _report(self, found: dict[str, float]) -> None:
        """What cannot be told now is measured anew."""
        if not found or not self._wanted():
            return
        try:
            await self._channel.stub.ReportMetrics(
                self._message(found.items()),
                metadata=self._channel.metadata(),
                timeout=_CALL_SECONDS,
            )
        except (grpc.aio.AioRpcError, TokenUnreadable) as error:
            said = describe(error) if isinstance(error, grpc.aio.AioRpcError) else error.message
            _log.info("probes.unreported", action="probes.unreported", error=said)

    def _message(self, found: Iterable[tuple[str, float]]) -> node_pb2.ReportMetricsRequest:
        trips = [node_pb2.RoundTrip(region=region, milliseconds=ms) for region, ms in found]
        return node_pb2.ReportMetricsRequest(
            node_id=self._node_id,
            session=self._channel.session,
            session_key=self._channel.session_key,
            round_trips=trips,
        )
