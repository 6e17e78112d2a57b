"""Which nodes the sweep believes alive: only silence that somebody could have heard counts."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from activities.liveness import NodeSweep
from gamepipe.embedded.temporal import TemporalServer
from gamepipe.model.errors import GamePipeError, StoreUnavailable
from gamepipe.model.state import Connectivity
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import now, register

TTL = timedelta(seconds=30)
BEAT = TTL / 6
GATEWAY = "gateway-1"


@dataclass
class Fleet:
    """A sweep, a gateway and one idle node on a clock that the test moves."""

    stack: Stack
    node_id: str
    at: datetime = field(default_factory=now)
    sweep: NodeSweep = field(init=False)
    started_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.started_at = self.at
        self.sweep = self.new_sweep(self.stack.client)

    def new_sweep(self, client: Client) -> NodeSweep:
        return NodeSweep(
            store=self.stack.store, client=client, ttl=TTL, interval=BEAT, now=lambda: self.at
        )

    async def spend(
        self, time: timedelta, *, node: bool = False, gateway: bool = True, sweep: bool = True
    ) -> Connectivity:
        """Let time pass beat by beat, with what is up in it; what the node is at the end."""
        end = self.at + time
        while self.at < end:
            self.at += BEAT
            if gateway:
                await self.beat()
            if node:
                metrics = (await self.stack.store.nodes.get(self.node_id)).metrics
                await self.stack.store.nodes.heartbeat([(self.node_id, 1, metrics)], now=self.at)
            if sweep:
                await self.sweep.run_once()
        return (await self.stack.store.nodes.get(self.node_id)).connectivity

    async def beat(self) -> None:
        await self.stack.store.nodes.gateway_beat(
            GATEWAY, started_at=self.started_at, ttl=TTL, now=self.at
        )


@pytest.fixture
async def fleet(stack: Stack) -> Fleet:
    fleet = Fleet(stack, "idle")
    await register(stack.store, "idle")
    await fleet.beat()
    return fleet


async def test_a_silent_node_is_suspect_then_lost_then_online_again(fleet: Fleet) -> None:
    assert await fleet.spend(2 * TTL, node=True) is Connectivity.ONLINE
    assert await fleet.spend(TTL * 2 / 3) is Connectivity.SUSPECT
    assert await fleet.spend(TTL / 2) is Connectivity.LOST
    assert await fleet.spend(BEAT, node=True) is Connectivity.ONLINE


async def test_nobody_is_lost_in_the_first_ttl_of_a_worker(fleet: Fleet) -> None:
    await fleet.spend(2 * TTL, sweep=False)
    fleet.sweep = fleet.new_sweep(fleet.stack.client)
    assert await fleet.spend(TTL - BEAT) is Connectivity.SUSPECT
    assert await fleet.spend(2 * BEAT) is Connectivity.LOST


async def test_nobody_is_lost_without_a_gateway_nor_in_its_first_ttl(fleet: Fleet) -> None:
    assert await fleet.spend(3 * TTL, gateway=False) is Connectivity.SUSPECT
    assert await fleet.spend(TTL - BEAT) is Connectivity.SUSPECT
    assert await fleet.spend(3 * BEAT) is Connectivity.LOST


async def test_what_a_frozen_gateway_could_not_hear_is_no_silence(fleet: Fleet) -> None:
    """Its last beat is younger than the last one of the node, and looks fresh for a while."""
    await fleet.spend(2 * TTL, node=True)
    assert await fleet.spend(BEAT) is Connectivity.ONLINE
    assert await fleet.spend(TTL - BEAT, gateway=False) is Connectivity.SUSPECT
    assert await fleet.spend(TTL, gateway=False) is Connectivity.SUSPECT


async def test_a_store_that_was_away_makes_nobody_lost(fleet: Fleet) -> None:
    await fleet.spend(2 * TTL, node=True)
    await fleet.spend(TTL + BEAT, gateway=False, sweep=False)  # nobody could write anything
    assert await fleet.spend(BEAT) is Connectivity.SUSPECT, "its heartbeat may still be on the way"
    assert await fleet.spend(BEAT, node=True) is Connectivity.ONLINE


async def test_passes_that_were_held_up_begin_a_new_ttl(fleet: Fleet) -> None:
    """The worker slept; a gateway on another machine did not."""
    await fleet.spend(2 * TTL, node=True)
    await fleet.spend(TTL + BEAT, sweep=False)
    assert await fleet.spend(BEAT) is Connectivity.SUSPECT
    assert await fleet.spend(TTL) is Connectivity.LOST


async def test_passes_that_fail_judge_nobody_and_begin_a_new_ttl(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.spend(2 * TTL, node=True)

    async def away() -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(fleet.stack.store.nodes, "list", away)
        end = fleet.at + TTL + BEAT
        while fleet.at < end:
            with pytest.raises(GamePipeError):
                await fleet.spend(BEAT)
    assert await fleet.spend(BEAT) is Connectivity.SUSPECT


async def test_a_temporal_that_is_away_makes_nobody_lost(
    fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = TemporalServer(data_dir=tmp_path_factory.mktemp("away"))
    await server.start()
    fleet.sweep = fleet.new_sweep(await Client.connect(server.address))
    await fleet.spend(2 * TTL, node=True)
    await fleet.spend(TTL * 2 / 3)
    await server.stop()
    fleet.at += TTL / 2
    await fleet.beat()
    with pytest.raises(RPCError):
        await fleet.sweep.run_once()
    node = await fleet.stack.store.nodes.get("idle")
    assert node.connectivity is Connectivity.SUSPECT


async def test_a_node_that_is_back_is_offered_to_who_waits(fleet: Fleet) -> None:
    await fleet.spend(2 * TTL, node=True)
    assert await fleet.spend(TTL * 2 / 3) is Connectivity.SUSPECT
    handle = await fleet.stack.submit("""
name: waits
placement: {node: idle}
steps: [{name: only, type: command, command: "true"}]
""")

    async def waits() -> bool:
        return bool(await fleet.stack.store.placements.queue())

    await eventually(waits, what="the pipeline to wait")
    assert await fleet.spend(BEAT, node=True) is Connectivity.ONLINE

    async def placed() -> bool:
        return (await fleet.stack.record(handle)).node_id == "idle"

    await eventually(placed, what="the offer to be taken")
    await handle.cancel()
