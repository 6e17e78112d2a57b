"""The variants of the benchmark have the shares that their names say."""

import random

import pytest

from bench.placement import VARIANTS, none, several, shares_of
from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.need import Need
from gamepipe.simulation.task import Task, task_of

REQUESTS = (GpuRequest(), GpuRequest(share=0.5), GpuRequest(count=1), GpuRequest(count=8))
NODES = [
    GameNode(
        id=model,
        facts=NodeFacts(
            cpu=8, memory_bytes=0, disk_bytes=0, gpus=(GpuFacts(index=0, model=model),)
        ),
    )
    for model in ("T4", "L4")
]


def variant(name: str) -> list[Task]:
    tasks = [task_of(Need(resources=Resources(cpu=1.0, gpu=gpu))) for gpu in REQUESTS * 500]
    return VARIANTS[name](tasks, NODES, random.Random(1))


def demand(tasks: list[Task]) -> int:
    return sum(task.gpu for task in tasks)


@pytest.mark.parametrize("percent", [5, 10, 20, 25, 50])
def test_so_many_tasks_ask_for_no_gpu(percent: int) -> None:
    tasks = variant(f"CPU-only {percent} %")
    assert sum(map(none, tasks)) / len(tasks) == pytest.approx(percent / 100, abs=0.001)


@pytest.mark.parametrize("percent", [20, 30, 40, 50])
def test_so_much_of_the_demand_is_from_tasks_for_several_devices(percent: int) -> None:
    tasks = variant(f"multi-GPU {percent} %")
    share = demand(list(filter(several, tasks))) / demand(tasks)
    assert share == pytest.approx(percent / 100, abs=0.01)


@pytest.mark.parametrize("percent", [20, 40, 60, 80, 100])
def test_so_much_of_the_demand_is_from_tasks_that_share(percent: int) -> None:
    tasks = variant(f"sharing {percent} %")
    share = demand(list(filter(shares_of, tasks))) / demand(tasks)
    assert share == pytest.approx(percent / 100, abs=0.01)


@pytest.mark.parametrize("percent", [10, 20, 25, 33, 50])
def test_so_many_gpu_tasks_accept_only_some_models(percent: int) -> None:
    wanted = [task.need.resources.gpu for task in variant(f"models {percent} %") if not none(task)]
    choosy = sum(bool(gpu.models) for gpu in wanted)
    assert choosy / len(wanted) == pytest.approx(percent / 100, abs=0.04)
