"""What is read from tables of nodes and tasks, and what is said of wrong ones."""

import pytest

from gamepipe.model.spec import GpuRequest
from gamepipe.simulation.table import WrongTable, read_nodes, read_tasks

NODES = "sn,cpu_milli,memory_mib,gpu,model"
TASKS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"


def requests(*lines: str) -> list[GpuRequest]:
    return [task.need.resources.gpu for task in read_tasks([TASKS, *lines], "tasks.csv")]


def test_a_node_has_its_devices_and_their_model() -> None:
    (node,) = read_nodes([NODES, "n1,64500,1024,2,T4"], "nodes.csv")
    assert (node.id, node.facts.cpu, node.facts.memory_bytes) == ("n1", 64.5, 1 << 30)
    assert [(gpu.index, gpu.model) for gpu in node.facts.gpus] == [(0, "T4"), (1, "T4")]


def test_a_task_asks_for_a_share_or_for_whole_devices() -> None:
    assert requests(
        "a,1000,1,0,0,", "b,1000,1,1,460,", "c,1,1,1,1000,", "d,1,1,4,1000,T4|P100"
    ) == [
        GpuRequest(),
        GpuRequest(share=0.46),
        GpuRequest(count=1),
        GpuRequest(count=4, models=("T4", "P100")),
    ]


def test_the_gpu_that_a_task_asks_for_is_counted() -> None:
    tasks = read_tasks([TASKS, "a,1,1,0,,", "b,1,1,1,460,", "c,1,1,4,1000,"], "tasks.csv")
    assert [task.gpu for task in tasks] == [0, 460_000, 4_000_000]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "nodes.csv:1: column sn, cpu_milli, memory_mib, gpu, model is missing"),
        (["sn,cpu_milli"], "nodes.csv:1: column memory_mib, gpu, model is missing"),
        ([NODES], "no nodes: write one in each line"),
        ([NODES, "n1,x,1,1,T4"], "nodes.csv:2: column cpu_milli: 'x' is no whole number"),
        ([NODES, "n1,1,-1,1,T4"], "nodes.csv:2: column memory_mib: '-1' is no whole number"),
        ([NODES, "n1,1,nan,1,T4"], "nodes.csv:2: column memory_mib: 'nan' is no whole number"),
        ([NODES, "n1,1,inf,1,T4"], "nodes.csv:2: column memory_mib: 'inf' is no whole number"),
        ([NODES, "n1,1"], "nodes.csv:2: column"),
        ([NODES, ",1,1,1,T4"], "nodes.csv:2: column sn: is empty"),
        ([NODES, "n1,1,1,1,T4", "n1,1,1,1,T4"], "nodes.csv:3: column sn: 'n1' is there twice"),
        ([NODES, "n1,1,1,100000,T4"], "nodes.csv:2: column gpu: 100000 devices"),
    ],
)
def test_a_wrong_table_of_nodes_is_refused_with_place_and_remedy(
    lines: list[str], said: str
) -> None:
    with pytest.raises(WrongTable) as refused:
        read_nodes(lines, "nodes.csv")
    assert said in str(refused.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(WrongTable) as refused:
        read_tasks([TASKS, "a,x,1,0,0,", "b,1,1,1,2000,", "c,1,y,0,0,"], "tasks.csv")
    assert [mistake.split(": ")[0] for mistake in refused.value.mistakes] == [
        "tasks.csv:2",
        "tasks.csv:3",
        "tasks.csv:4",
    ]
