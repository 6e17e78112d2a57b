"""Stopping: TERM, after the grace KILL; and what is removed when."""

import asyncio
import time
from dataclasses import replace

import pytest

from gamepipe.agent.runtime import StopRequest
from gamepipe.model import reason as reasons
from gamepipe.model.spec import StepType
from tests.agent.container.conftest import Bench, next_attempt
from tests.waiting import eventually

pytestmark = pytest.mark.docker
DEAF = ("trap '' TERM", "echo ready", "while true; do sleep 0.1; done")


async def test_a_script_is_told_to_end(bench: Bench) -> None:
    attempt = bench.start(
        bench.plan("trap 'echo bye; exit 3' TERM", "echo ready", "while true; do sleep 0.1; done")
    )
    await attempt.until_line("ready")
    attempt.stop.set(grace_seconds=30, reason=reasons.CANCELED, message="enough")
    leave = await attempt.end(20)
    assert (leave.reason, leave.message, leave.exit_code) == (reasons.CANCELED, "enough", 3)
    assert attempt.sink.texts()[-1] == "bye"
    facts = await bench.facts(attempt.plan)
    assert facts is not None
    assert not facts.is_running


async def test_a_script_that_does_not_trap_ends_at_once(bench: Bench) -> None:
    attempt = bench.start(bench.plan("echo ready", "sleep 600"))
    await attempt.until_line("ready")
    attempt.stop.set(grace_seconds=60, reason=reasons.CANCELED)
    assert (await attempt.end(10)).reason == reasons.CANCELED


async def test_a_deaf_container_is_killed_after_the_grace(bench: Bench) -> None:
    attempt = bench.start(bench.plan(*DEAF))
    await attempt.until_line("ready")
    begun = time.monotonic()
    attempt.stop.set(grace_seconds=1.0, reason=reasons.STEP_TIMEOUT, message="too long")
    leave = await attempt.end(20)
    assert time.monotonic() - begun >= 1.0
    assert (leave.reason, leave.exit_code) == (reasons.STEP_TIMEOUT, 137)


async def test_a_shorter_grace_kills_at_once(bench: Bench) -> None:
    attempt = bench.start(bench.plan(*DEAF))
    await attempt.until_line("ready")
    attempt.stop.set(grace_seconds=600, reason=reasons.CANCELED)
    await attempt.until_line("stopping")
    attempt.stop.set(grace_seconds=0, reason=reasons.CANCELED)
    assert (await attempt.end(20)).exit_code == 137


async def test_a_stop_before_the_start_starts_nothing(bench: Bench) -> None:
    attempt = bench.start(bench.plan("true"))
    attempt.stop.set(grace_seconds=1, reason=reasons.CANCELED)
    leave = await attempt.end()
    assert (leave.reason, leave.started_at) == (reasons.CANCELED, None)
    assert await bench.facts(attempt.plan) is None


async def test_kill_takes_in_what_nobody_followed(bench: Bench) -> None:
    plan = bench.plan(
        "echo one",
        "while [ ! -e /workspace/go ]; do sleep 0.05; done",
        "echo two",
        "touch /workspace/done",
        "sleep 600",
    )
    attempt = bench.start(plan)
    await attempt.until_line("one")
    await attempt.crash()
    (plan.workspace / "go").touch()
    await eventually((plan.workspace / "done").exists)
    stop = StopRequest.within(0)
    assert await bench.restarted().kill(plan.key, stop, sink=attempt.sink)
    assert stop.is_gone
    assert attempt.sink.texts() == ["one", "two"]
    assert await bench.facts(plan) is None


async def test_kill_ends_what_nobody_follows(bench: Bench) -> None:
    attempt = bench.start(bench.plan("echo ready", "sleep 600"))
    await attempt.until_line("ready")
    await attempt.crash()
    runtime = bench.restarted()
    assert await runtime.kill(attempt.plan.key, StopRequest.within(5)) is True
    assert await bench.facts(attempt.plan) is None
    assert await runtime.kill(attempt.plan.key, StopRequest.within(5)) is False


async def test_removal_keeps_services_only_when_told(bench: Bench) -> None:
    key = bench.key()
    service = bench.plan("sleep 600", key=replace(key, step_index=1), kind=StepType.SERVICE)
    first = bench.plan("true", key=key)
    other = bench.plan("true", key=replace(key, generation=2))
    for plan in (first, service, other):
        await bench.start(plan).end()
    await bench.runtime.remove(key.pipeline_id, 1, keep_services=True)
    assert await bench.facts(first) is None
    assert (await bench.facts(service)) is not None
    await bench.runtime.remove(key.pipeline_id, 1, keep_services=False)
    assert await bench.facts(service) is None
    assert await bench.facts(other) is not None
    await bench.runtime.remove(key.pipeline_id, 1, keep_services=False)


async def test_containers_of_another_node_are_left_alone(bench: Bench) -> None:
    plan = replace(bench.plan("true"), node_id=f"{bench.node_id}-other")
    await bench.start(plan).end()
    await bench.runtime.remove(plan.key.pipeline_id, 1, keep_services=False)
    assert await bench.runtime.kill(plan.key, StopRequest.within(0)) is False
    facts = await bench.facts(plan)
    assert facts is not None
    await bench.engine.remove(facts.id)


async def test_a_new_attempt_removes_the_ended_ones(bench: Bench) -> None:
    first = bench.plan("false")
    await bench.start(first).end()
    second = bench.plan("true", key=next_attempt(first).key)
    assert (await bench.start(second).end()).exit_code == 0
    assert await bench.facts(first) is None


async def test_many_containers_stop_at_the_same_time(bench: Bench) -> None:
    keys = [replace(bench.key(), step_index=index) for index in range(6)]
    attempts = [bench.start(bench.plan("echo ready", "sleep 600", key=key)) for key in keys]
    await asyncio.gather(*(attempt.until_line("ready") for attempt in attempts))
    for attempt in attempts:
        attempt.stop.set(grace_seconds=60, reason=reasons.CANCELED)
    ends = await asyncio.gather(*(attempt.end(30) for attempt in attempts))
    assert {end.reason for end in ends} == {reasons.CANCELED}
