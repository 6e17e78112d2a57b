"""Replayed traces: the protocol, and the policies."""

import random

import pytest

from gamepipe.model.node import GameNode
from gamepipe.simulation.policy import POLICIES
from gamepipe.simulation.replay import NoGpu, arriving, replay
from gamepipe.simulation.table import read_nodes, read_tasks
from gamepipe.simulation.task import Task


def cluster(count: int = 6) -> list[GameNode]:
    lines = [f"n{place},16000,65536,{2 + place % 3},T4" for place in range(count)]
    return read_nodes(["sn,cpu_milli,memory_mib,gpu,model", *lines], "nodes.csv")


def work() -> list[Task]:
    lines = ["2000,4096,1,300,", "1000,1024,1,500,", "4000,8192,1,1000,", "8000,1024,2,1000,"]
    lines += ["500,512,0,0,"]
    columns = "cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"
    return read_tasks([columns, *lines * 3], "tasks.csv")


def test_all_tasks_arrive_and_more_of_them_until_the_demand_is_met() -> None:
    tasks = work()
    order = arriving(tasks, 40_000_000, random.Random(1))
    demand = sum(task.gpu for task in order)
    assert demand >= 40_000_000 > demand - order[-1].gpu
    assert sorted(map(repr, order[: len(tasks)])) == sorted(map(repr, tasks))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_fills_the_cluster_and_never_oversells_it(policy: str) -> None:
    found = replay(cluster(), work(), policy=policy, arrivals=1.3, seed=1)
    assert 0.6 < found.allocated <= 1
    assert found.dropped > 0
    assert found.curve[0].arrived == 0
    assert found.curve[-1].arrived >= 1.3
    assert found.curve[-1].allocated == found.allocated


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_gives_the_same_run_again(policy: str) -> None:
    one, again = (replay(cluster(), work(), policy=policy, arrivals=1.3, seed=3) for _ in range(2))
    assert one == again


def test_without_gpus_there_is_nothing_to_measure() -> None:
    nodes = read_nodes(["sn,cpu_milli,memory_mib,gpu,model", "n1,1000,1,0,"], "nodes.csv")
    with pytest.raises(NoGpu):
        replay(nodes, work(), policy="fragmentation", arrivals=1.3, seed=1)
    with pytest.raises(NoGpu):
        replay(cluster(), work()[4:5], policy="fragmentation", arrivals=1.3, seed=1)
