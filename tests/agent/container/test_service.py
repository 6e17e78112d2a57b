"""Services: up, not up, never up."""

from datetime import timedelta

import pytest

from gamepipe.agent.container_runtime import ContainerRuntime
from gamepipe.model import reason as reasons
from gamepipe.model.spec import Healthcheck, Port, StepType
from tests.agent.container.conftest import UP_AFTER, Attempt, Bench, MemorySink
from tests.docker_fixtures import import_image

pytestmark = pytest.mark.docker
QUICK = {"interval_seconds": 0.2, "timeout_seconds": 5.0}


async def test_a_service_without_health_check_is_up_once_it_ran_long_enough(bench: Bench) -> None:
    plan = bench.plan(
        "echo up", "sleep 600", kind=StepType.SERVICE, ports=(Port(container="8080"),)
    )
    attempt = bench.start(plan)
    leave = await attempt.end()
    facts = await bench.facts(plan)
    assert facts is not None
    assert facts.is_running
    assert leave.service_up
    assert (leave.exit_code, leave.reason) == (None, "")
    assert leave.started_at is not None
    assert leave.ended_at - leave.started_at >= UP_AFTER
    assert (leave.container_id, leave.container_name) == (facts.id, facts.name)
    assert leave.ports["8080/tcp"].startswith("0.0.0.0:")
    assert attempt.sink.texts() == ["up"]


async def test_a_service_that_exits_before_it_is_up_failed(bench: Bench) -> None:
    leave, _ = await bench.run("echo no display >&2", "exit 4", kind=StepType.SERVICE)
    assert (leave.reason, leave.exit_code, leave.service_up) == (reasons.SERVICE_EXITED, 4, False)
    assert "exit code 4" in leave.message
    assert leave.quotes_log


async def test_a_service_that_ends_well_too_early_failed_too(bench: Bench) -> None:
    leave, _ = await bench.run("true", kind=StepType.SERVICE)
    assert (leave.reason, leave.exit_code) == (reasons.SERVICE_EXITED, 0)


async def test_a_health_check_says_when_it_is_up(bench: Bench) -> None:
    check = Healthcheck(test=("CMD-SHELL", "test -e /tmp/ready"), retries=100, **QUICK)
    plan = bench.plan(
        "sleep 1.5", "touch /tmp/ready", "sleep 600", kind=StepType.SERVICE, healthcheck=check
    )
    leave = await bench.start(plan).end()
    assert leave.service_up
    assert leave.started_at is not None
    assert leave.ended_at - leave.started_at >= timedelta(seconds=1.5)


async def test_the_images_own_health_check_counts(bench: Bench) -> None:
    name = "gamepipe-test/checked:1"
    check = "HEALTHCHECK --interval=200ms --retries=2 CMD echo no picture; exit 1"
    await import_image(bench.docker, name, changes=(check,))
    plan = bench.plan("sleep 600", kind=StepType.SERVICE, image=name)
    leave = await bench.start(plan).end()
    assert leave.reason == reasons.UNHEALTHY
    assert (leave.said, leave.said_is_cut) == ("no picture", False)
    facts = await bench.facts(plan)
    assert facts is not None
    assert not facts.is_running


async def test_a_stop_beats_coming_up(bench: Bench) -> None:
    check = Healthcheck(test=("CMD-SHELL", "false"), retries=1000, **QUICK)
    plan = bench.plan("echo ready", "sleep 600", kind=StepType.SERVICE, healthcheck=check)
    attempt = bench.start(plan)
    await attempt.until_line("ready")
    attempt.stop.set(grace_seconds=30, reason=reasons.STEP_TIMEOUT, message="too slow")
    leave = await attempt.end(20)
    assert (leave.reason, leave.service_up) == (reasons.STEP_TIMEOUT, False)


async def test_a_service_is_adopted_while_it_comes_up(bench: Bench) -> None:
    slow = ContainerRuntime(
        bench.docker, node_id=bench.node_id, service_up_after=timedelta(seconds=600)
    )
    plan = bench.plan("echo ready", "sleep 600", kind=StepType.SERVICE)
    sink = MemorySink()
    first = Attempt(plan=plan, sink=sink).start(slow)
    await first.until_line("ready")
    await first.crash()
    second = Attempt(plan=plan, sink=sink).start(bench.restarted())
    leave = await second.end()
    assert leave.service_up
    assert leave.started_at == first.running_since[0] == second.running_since[0]
    assert sink.texts() == ["ready"]
