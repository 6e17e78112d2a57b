"""The engine goes away and comes back under a followed container."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiodocker
import pytest

from gamepipe.agent.container_engine import EngineUnavailable, connect_docker
from gamepipe.agent.container_facts import container_name
from gamepipe.agent.container_runtime import ContainerRuntime
from gamepipe.model import reason as reasons
from gamepipe.model.record import LogStream
from gamepipe.model.spec import StepType
from tests.agent.container.conftest import UP_AFTER, Bench
from tests.agent.container.test_instance import EXITED, RUNNING, Gateway, make_watcher, name_of
from tests.agent.container.test_instance import watching as watch
from tests.docker_engine import OwnEngine
from tests.docker_fixtures import BUSYBOX, import_image

pytestmark = pytest.mark.docker


@pytest.fixture
async def lone(own_engine: OwnEngine, tmp_path: Path) -> AsyncIterator[Bench]:
    docker: aiodocker.Docker = connect_docker(own_engine.url)
    await import_image(docker, BUSYBOX)
    runtime = ContainerRuntime(docker, node_id="lone", service_up_after=UP_AFTER)
    yield Bench(docker, tmp_path, BUSYBOX, "lone", runtime)
    await docker.close()


async def let_containers_live(engine: OwnEngine) -> None:
    """With live-restore containers outlive their engine."""
    await asyncio.to_thread(engine.stop)
    engine.extra = ("--live-restore",)
    await asyncio.to_thread(engine.start)


async def test_a_restarted_engine_is_followed_on(lone: Bench, own_engine: OwnEngine) -> None:
    """Without live-restore it ends what it runs: that end is told, behind its lines."""
    attempt = lone.start(lone.plan("i=0; while true; do i=$((i+1)); echo $i; sleep 0.01; done"))
    await attempt.until_line("20")
    await asyncio.to_thread(own_engine.stop)
    await asyncio.to_thread(own_engine.start)
    leave = await attempt.end()
    assert leave.reason == reasons.EXIT_CODE
    assert leave.exit_code != 0
    numbers = attempt.sink.texts()
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert attempt.sink.texts(LogStream.SYSTEM) == []


async def test_a_container_that_lives_on_is_followed_on(lone: Bench, own_engine: OwnEngine) -> None:
    await let_containers_live(own_engine)
    plan = lone.plan("echo one", "while [ ! -e go ]; do sleep 0.05; done", "echo two")
    attempt = lone.start(plan)
    await attempt.until_line("one")
    await asyncio.to_thread(own_engine.stop)
    assert not attempt.task.done()
    await asyncio.to_thread(own_engine.start)
    (plan.workspace / "go").touch()
    leave = await attempt.end()
    assert (leave.exit_code, leave.reason) == (0, "")
    assert attempt.sink.texts() == ["one", "two"]


async def test_a_stop_while_the_engine_is_away_is_carried_out(
    lone: Bench, own_engine: OwnEngine
) -> None:
    await let_containers_live(own_engine)
    attempt = lone.start(lone.plan("echo ready", "sleep 600"))
    await attempt.until_line("ready")
    await asyncio.to_thread(own_engine.stop)
    attempt.stop.set(grace_seconds=1, reason=reasons.CANCELED)
    await asyncio.to_thread(own_engine.start)
    assert (await attempt.end()).reason == reasons.CANCELED


async def test_instances_are_told_of_after_a_restart(lone: Bench, own_engine: OwnEngine) -> None:
    plan = lone.plan("sleep 600", kind=StepType.SERVICE)
    assert (await lone.start(plan).end()).service_up
    gateway = Gateway()
    async with watch(make_watcher(lone, gateway)):
        await gateway.until(name_of(plan), RUNNING)
        await asyncio.to_thread(own_engine.stop)
        await asyncio.to_thread(own_engine.start)
        await gateway.until(name_of(plan), RUNNING, EXITED)


async def test_without_an_engine_removal_fails_only_where_containers_may_be(
    lone: Bench, own_engine: OwnEngine, tmp_path: Path
) -> None:
    runtime = ContainerRuntime(lone.docker, node_id="lone", attempts_dir=tmp_path)
    plan = lone.plan("true")
    lone.runtime = runtime
    await asyncio.to_thread(own_engine.stop)
    refused = await lone.start(plan).end()
    assert refused.reason == reasons.RUNTIME_UNAVAILABLE
    await runtime.remove(plan.key.pipeline_id, 1, keep_services=False)
    await asyncio.to_thread(own_engine.start)
    await lone.start(plan).end()
    await asyncio.to_thread(own_engine.stop)
    with pytest.raises(EngineUnavailable):
        await runtime.remove(plan.key.pipeline_id, 1, keep_services=False)
    await asyncio.to_thread(own_engine.start)
    await runtime.remove(plan.key.pipeline_id, 1, keep_services=False)
    assert await lone.engine.inspect(container_name(plan.key)) is None


async def test_a_restarted_agent_waits_for_the_engine(lone: Bench, own_engine: OwnEngine) -> None:
    await let_containers_live(own_engine)
    plan = lone.plan("echo one", "while [ ! -e go ]; do sleep 0.05; done", "echo two")
    first = lone.start(plan)
    await first.until_line("one")
    await first.crash()
    await asyncio.to_thread(own_engine.stop)
    second = lone.start(plan, first.sink)
    fresh = await lone.start(lone.plan("true")).end()
    assert fresh.reason == reasons.RUNTIME_UNAVAILABLE
    assert not second.task.done()
    await asyncio.to_thread(own_engine.start)
    await second.until_line("adopted")
    (plan.workspace / "go").touch()
    assert (await second.end()).exit_code == 0
