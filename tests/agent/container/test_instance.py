"""Instances: how they are told of, and how they end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from gamepipe.agent.ending import instance_id
from gamepipe.agent.instance import InstanceWatcher
from gamepipe.agent.runtime import StepPlan
from gamepipe.agent.values import Values, ValuesRefused, ValuesUnavailable
from gamepipe.model import reason as reasons
from gamepipe.model.spec import Healthcheck, StepType
from gamepipe.model.state import InstanceState
from gamepipe.wire import StopInstanceOrder
from tests.agent.container.conftest import Bench, next_attempt
from tests.agent.node import FixedValues
from tests.waiting import eventually

pytestmark = pytest.mark.docker
RUNNING, UNHEALTHY, EXITED = InstanceState.RUNNING, InstanceState.UNHEALTHY, InstanceState.EXITED


@dataclass
class Gateway:
    """Hears observations; while it is closed it hears none."""

    heard: list[tuple[str, InstanceState, int | None, str, str]] = field(default_factory=list)
    is_open: bool = True

    async def hear(
        self, name: str, state: InstanceState, exit_code: int | None, reason: str, message: str
    ) -> None:
        if not self.is_open:
            raise ConnectionError("closed")
        self.heard.append((name, state, exit_code, reason, message))

    def states(self, name: str) -> list[InstanceState]:
        """Without repetitions."""
        states = [state for heard, state, *_ in self.heard if heard == name]
        return [one for at, one in enumerate(states) if at == 0 or states[at - 1] is not one]

    async def until(self, name: str, *states: InstanceState) -> None:
        await eventually(
            lambda: self.states(name) == list(states), what=f"{states}, saw {self.heard}"
        )


def name_of(plan: StepPlan) -> str:
    return instance_id(plan.key.pipeline_id, plan.key.generation, plan.key.step_index)


def order(plan: StepPlan, grace_seconds: float = 5.0) -> StopInstanceOrder:
    return StopInstanceOrder(
        instance_id=name_of(plan),
        pipeline_id=plan.key.pipeline_id,
        generation=plan.key.generation,
        step_index=plan.key.step_index,
        grace_seconds=grace_seconds,
    )


def make_watcher(
    bench: Bench,
    gateway: Gateway,
    interval: timedelta = timedelta(seconds=0.2),
    keep_ended: timedelta = timedelta(hours=1),
    values: FixedValues | None = None,
) -> InstanceWatcher:
    return InstanceWatcher(
        bench.docker,
        node_id=bench.node_id,
        on_observation=gateway.hear,
        values=values or FixedValues(),
        interval=interval,
        keep_ended=keep_ended,
    )


@asynccontextmanager
async def watching(watcher: InstanceWatcher) -> AsyncIterator[InstanceWatcher]:
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def up(bench: Bench, *commands: str, **fields: object) -> StepPlan:
    plan = bench.plan(*(commands or ("sleep 600",)), kind=StepType.SERVICE, **fields)
    assert (await bench.start(plan).end()).service_up
    return plan


async def test_what_runs_is_told_at_the_start_and_its_exit_at_once(bench: Bench) -> None:
    plan = await up(bench, "while [ ! -e go ]; do sleep 0.05; done", "exit 6")
    await bench.run("sleep 0.1")
    gateway = Gateway()
    async with watching(make_watcher(bench, gateway, interval=timedelta(hours=1))):
        await gateway.until(name_of(plan), RUNNING)
        (plan.workspace / "go").touch()
        await gateway.until(name_of(plan), RUNNING, EXITED)
    assert gateway.heard[-1] == (
        name_of(plan),
        EXITED,
        6,
        reasons.SERVICE_EXITED,
        "exit code 6",
    )
    assert {heard[0] for heard in gateway.heard} == {name_of(plan)}


async def test_what_happened_while_the_agent_was_away_is_told(bench: Bench) -> None:
    plan = await up(bench)
    facts = await bench.facts(plan)
    assert facts is not None
    await bench.engine.signal(facts.id, "SIGKILL")
    gateway = Gateway()
    async with watching(make_watcher(bench, gateway)):
        await gateway.until(name_of(plan), EXITED)
    assert gateway.heard[0][2] == 137


async def test_health_goes_both_ways(bench: Bench) -> None:
    check = Healthcheck(
        test=("CMD-SHELL", "test ! -e /workspace/sick || (echo no picture; exit 1)"),
        interval_seconds=0.2,
        timeout_seconds=5,
        retries=1,
    )
    plan = await up(bench, healthcheck=check)
    gateway = Gateway()
    async with watching(make_watcher(bench, gateway, interval=timedelta(hours=1))):
        await gateway.until(name_of(plan), RUNNING)
        (plan.workspace / "sick").touch()
        await gateway.until(name_of(plan), RUNNING, UNHEALTHY)
        assert gateway.heard[-1][3:] == (reasons.UNHEALTHY, "no picture")
        (plan.workspace / "sick").unlink()
        await gateway.until(name_of(plan), RUNNING, UNHEALTHY, RUNNING)


async def sick(bench: Bench) -> StepPlan:
    """An instance that is unhealthy, and says a secret about it."""
    said = ("CMD-SHELL", "test -e /workspace/well || (echo no picture for hunter22; exit 1)")
    check = Healthcheck(test=said, interval_seconds=0.2, timeout_seconds=5, retries=1)
    plan = bench.plan("sleep 600", kind=StepType.SERVICE, healthcheck=check)
    (plan.workspace / "well").touch()
    assert (await bench.start(plan).end()).service_up
    (plan.workspace / "well").unlink()

    async def is_sick() -> bool:
        facts = await bench.facts(plan)
        return facts is not None and facts.health == "unhealthy"

    await eventually(is_sick)
    return plan


async def test_values_are_masked_in_what_a_health_check_prints(bench: Bench) -> None:
    await sick(bench)
    gateway, values = Gateway(), FixedValues()
    values.values = Values(secrets={"PASSWORD": "hunter22"})
    await make_watcher(bench, gateway, values=values).report_all()
    assert [heard[3:] for heard in gateway.heard] == [(reasons.UNHEALTHY, "no picture for ***")]


async def test_nothing_is_told_before_it_can_be_masked(bench: Bench) -> None:
    plan = await sick(bench)
    gateway, values = Gateway(), FixedValues()
    values.errors = [ValuesUnavailable("no gateway")]
    async with watching(make_watcher(bench, gateway, values=values)):
        await gateway.until(name_of(plan), UNHEALTHY)
    assert values.errors == []


async def test_what_may_not_be_masked_is_left_out(bench: Bench) -> None:
    await sick(bench)
    gateway, values = Gateway(), FixedValues()
    values.errors = [ValuesRefused("not yours")]
    await make_watcher(bench, gateway, values=values).report_all()
    ((*_, reason, message),) = gateway.heard
    assert reason == reasons.UNHEALTHY
    assert message == "(left out: it may hold values of secrets)"


async def test_what_could_not_be_told_is_told_later(bench: Bench) -> None:
    plan = await up(bench)
    gateway = Gateway(is_open=False)
    async with watching(make_watcher(bench, gateway)) as watcher:
        facts = await bench.facts(plan)
        assert facts is not None
        await bench.engine.signal(facts.id, "SIGKILL")

        async def has_ended() -> bool:
            return (await watcher.snapshot())[name_of(plan)].state is EXITED

        await eventually(has_ended)
        assert gateway.heard == []
        gateway.is_open = True
        await gateway.until(name_of(plan), EXITED)


async def test_a_container_that_somebody_removed_unseen_is_lost(bench: Bench) -> None:
    plan = await up(bench)
    gateway = Gateway()
    watcher = make_watcher(bench, gateway)
    await watcher.report_all()
    facts = await bench.facts(plan)
    assert facts is not None
    await bench.engine.remove(facts.id)
    await watcher.report_all()
    await watcher.report_all()
    assert [heard[1] for heard in gateway.heard] == [RUNNING, InstanceState.LOST]
    assert "removed by somebody else" in gateway.heard[-1][4]


async def test_only_the_newest_attempt_is_the_instance(bench: Bench) -> None:
    first = bench.plan("exit 1", kind=StepType.SERVICE)
    await bench.start(first).end()
    second = bench.plan("sleep 600", key=next_attempt(first).key, kind=StepType.SERVICE)
    await bench.start(second).end()
    gateway = Gateway()
    watcher = make_watcher(bench, gateway)
    await watcher.report_all()
    assert gateway.states(name_of(first)) == [RUNNING]
    end = await watcher.stop(order(first))
    assert end.exit_code is not None
    assert await bench.facts(second) is None


async def test_a_stopped_instance_is_gone_and_not_told_of_as_exited(bench: Bench) -> None:
    plan = await up(
        bench, "trap 'sleep 1; exit 9' TERM", "echo up", "while true; do sleep 0.1; done"
    )
    gateway = Gateway()
    async with watching(make_watcher(bench, gateway)) as watcher:
        await gateway.until(name_of(plan), RUNNING)
        end = await watcher.stop(order(plan, grace_seconds=30))
        assert (end.exit_code, end.message) == (9, "exit code 9")
        assert await bench.facts(plan) is None
        again = await watcher.stop(order(plan))
        assert again.exit_code is None
        assert "gone already" in again.message
        await watcher.report_all()
    assert gateway.states(name_of(plan)) == [RUNNING]


async def test_a_second_order_shortens_the_grace(bench: Bench) -> None:
    plan = await up(bench, "trap '' TERM", "echo up", "while true; do sleep 0.1; done")
    watcher = make_watcher(bench, Gateway())
    begun = time.monotonic()
    first = asyncio.create_task(watcher.stop(order(plan, grace_seconds=600)))
    await asyncio.sleep(0)
    ends = await asyncio.gather(first, watcher.stop(order(plan, grace_seconds=0.5)))
    assert time.monotonic() - begun < 30
    assert [end.exit_code for end in ends] == [137, 137]


async def test_an_ended_instance_is_removed_after_a_while(bench: Bench) -> None:
    plan = await up(bench)
    facts = await bench.facts(plan)
    assert facts is not None
    await bench.engine.signal(facts.id, "SIGKILL")
    gateway = Gateway()
    async with watching(make_watcher(bench, gateway, keep_ended=timedelta(0))):
        await gateway.until(name_of(plan), EXITED)

        async def is_gone() -> bool:
            return await bench.facts(plan) is None

        await eventually(is_gone)
    assert gateway.states(name_of(plan)) == [EXITED]
