"""Round trips that an agent measures, over real sockets, and reports."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from structlog.testing import capture_logs

from gamepipe.agent import probe
from gamepipe.agent.probe import ProbeTarget, parse_target
from gamepipe.agent.prober import RoundTripProber
from gamepipe.agent.settings import AgentSettings
from gamepipe.embedded.port import pick_port
from gamepipe.setting import BadSettings, read_settings
from tests.agent.gateway import Gateway
from tests.agent.link_rig import Rig, rig

__all__ = ["rig"]


@asynccontextmanager
async def place(port: int = 0) -> AsyncIterator[int]:
    """Something that accepts connections; its port."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with server:
        yield server.sockets[0].getsockname()[1]


def free_port() -> int:
    return pick_port("probe", 0, taken=set()).number


def at(region: str, port: int, host: str = "127.0.0.1") -> ProbeTarget:
    return ProbeTarget(region=region, host=host, port=port)


def prober(rig: Rig, *targets: ProbeTarget) -> RoundTripProber:
    return RoundTripProber(
        rig.channel,
        "node-1",
        targets,
        interval_seconds=0.05,
        wanted=lambda: rig.link.has("report_metrics"),
    )


@asynccontextmanager
async def running(one: RoundTripProber) -> AsyncIterator[None]:
    task = asyncio.create_task(one.run())
    try:
        yield
    finally:
        task.cancel()
        ended = await asyncio.gather(task, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError), ended


async def test_what_was_measured_is_reported_under_the_session_again_and_again(
    rig: Rig, gateway: Gateway
) -> None:
    await rig.start()
    async with place() as port, running(prober(rig, at("eu", port), at("us", port))):
        await gateway.until(lambda: len(gateway.metrics) > 2)
    told = gateway.metrics[-1]
    assert (told.node_id, told.session, told.session_key) == ("node-1", 1, "key-1")
    trips = {trip.region: trip.milliseconds for trip in told.round_trips}
    assert set(trips) == {"eu", "us"}
    assert all(0 < ms < 1000 for ms in trips.values())
    assert not told.HasField("metrics"), "what heartbeats say stays"


async def test_a_target_that_does_not_answer_is_named_once_and_gives_no_figure(rig: Rig) -> None:
    gone = free_port()
    one = prober(rig, at("eu", gone), at("nowhere", 443, host="no.such.invalid"))
    with capture_logs() as logs:
        for _ in range(3):
            assert await one.measure() == {}
        async with place(gone):
            assert set(await one.measure()) == {"eu"}
        assert await one.measure() == {}
    told = [(log["action"], log["target"]) for log in logs]
    eu, nowhere = f"eu=127.0.0.1:{gone}", "nowhere=no.such.invalid:443"
    assert told == [
        ("probe.unanswered", eu),
        ("probe.unanswered", nowhere),
        ("probe.answered", eu),
        ("probe.unanswered", eu),
    ]


async def test_the_nearest_target_of_a_region_counts_whatever_the_others_say(rig: Rig) -> None:
    async with place() as port:
        found = await prober(rig, at("eu", free_port()), at("eu", port), at("eu", port)).measure()
    assert set(found) == {"eu"}


async def test_a_target_that_says_nothing_holds_nobody_up(
    rig: Rig, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue of connections is full: the kernel drops what comes, as a firewall would."""
    monkeypatch.setattr(probe, "SAMPLE_SECONDS", 0.2)
    await rig.start()
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        async with place() as port:
            targets = at("mute", full.getsockname()[1]), at("eu", port)
            async with running(prober(rig, *targets)):
                await gateway.until(lambda: len(gateway.metrics) > 0)
    assert [trip.region for trip in gateway.metrics[0].round_trips] == ["eu"]


async def test_a_gateway_that_takes_no_reports_is_not_bothered(rig: Rig, gateway: Gateway) -> None:
    gateway.features.discard("report_metrics")
    await rig.start()
    async with place() as port:
        asked = asyncio.Event()

        def wanted() -> bool:
            asked.set()
            return rig.link.has("report_metrics")

        target = at("eu", port)
        one = RoundTripProber(rig.channel, "n", [target], interval_seconds=0.01, wanted=wanted)
        async with running(one):
            await asked.wait()
            asked.clear()
            await asked.wait()  # the first one is over
    assert gateway.metrics == []


async def test_a_report_that_fails_ends_nothing(rig: Rig, gateway: Gateway) -> None:
    gateway.metrics_error = grpc.StatusCode.PERMISSION_DENIED
    await rig.start()
    async with place() as port, running(prober(rig, at("eu", port))):
        await gateway.until(lambda: len(gateway.metrics) > 1)
        gateway.metrics_error = None
        seen = len(gateway.metrics)
        await gateway.until(lambda: len(gateway.metrics) > seen)


async def test_without_targets_nothing_is_done(rig: Rig) -> None:
    await asyncio.wait_for(prober(rig).run(), 5)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("eu=probe.example:443", at("eu", 443, host="probe.example")),
        ("eu=[::1]:80", at("eu", 80, host="::1")),
        (f"eu={'a' * 63}.example.:1", at("eu", 1, host=f"{'a' * 63}.example.")),
        ("eu\u00a0north=münchen.example:1", at("eu\u00a0north", 1, host="münchen.example")),
        ("北欧=10.0.0.1:65535", at("北欧", 65535, host="10.0.0.1")),
    ],
)
def test_targets_are_read(text: str, target: ProbeTarget) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text", ["", "eu", "eu=", "eu=host", "=host:1", "eu=:1", "eu=host:0", "eu=host:x", "a\nb=h:1"]
)
def test_what_is_no_target_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as eu-north=probe\.example:443"):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("eu=foo..bar:1", "each part between its dots has 1 to 63 characters"),
        (f"eu={'a' * 64}.example:1", "each part between its dots has 1 to 63 characters"),
        ("eu=a\0b:1", "the host is a name or an address"),
        (f"{'r' * 64}=h:1", "the region has 1 to 63 characters"),
        ("e\x7fu=h:1", "the region is one line without control characters"),
        ("e\ud800u=h:1", "the region is not valid Unicode"),
        ("eu=h:65536", "the port counts from 1 to 65535"),
    ],
)
def test_what_is_wrong_with_a_target_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_target(text)
    with pytest.raises(BadSettings, match=said):
        read_settings(AgentSettings, {"probes": (text,)}, flags={"probes": "--probe"})


async def test_no_error_of_one_probe_keeps_the_others_from_being_measured(rig: Rig) -> None:
    async with place() as port:
        odd = at("odd", 443, host="foo..bar")
        with capture_logs() as logs:
            found = await prober(rig, odd, at("eu", port)).measure()
    assert set(found) == {"eu"}
    assert [(log["action"], log["target"]) for log in logs] == [("probe.unanswered", str(odd))]
