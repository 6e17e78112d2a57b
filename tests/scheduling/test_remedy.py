"""What would let a pipeline run that fits nowhere: the smallest change comes first, and is true."""

import inspect
import re
from dataclasses import replace
from typing import Any

import pytest

from gamepipe.model.node import GameNode
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, Match
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.scheduling import rule, shortage
from gamepipe.scheduling.change import CODES
from gamepipe.scheduling.choose import RESERVED, Choice, choose
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.remedy import remedies
from gamepipe.scheduling.snapshot import Snapshot
from tests.scheduling.shapes import GIB, SSD, a_need, a_node, a_snapshot, holding

ONE_GPU, TWO_GPUS = GpuRequest(count=1), GpuRequest(count=2)


def said(need: Need, snapshot: Snapshot) -> list[str]:
    return [remedy.text for remedy in remedies(need, snapshot)[0]]


CASES: list[tuple[Need, GameNode, tuple[Allocation, ...], list[str]]] = [
    (
        a_need(cpu=4),
        a_node("n1"),
        (holding("n1", cpu=6),),
        ["free 2 cores on n1", "ask for 2 cores instead of 4: then n1 fits"],
    ),
    (a_need(cpu=10), a_node("n1"), (), ["ask for 8 cores instead of 10: then n1 fits"]),
    (
        a_need(memory=65 * GIB),
        a_node("n1"),
        (),
        ["ask for 64 GiB of memory instead of 65 GiB: then n1 fits"],
    ),
    (a_need(gpu=ONE_GPU), a_node("n1"), (), ["add 1 GPU to n1"]),
    (
        a_need(gpu=TWO_GPUS),
        a_node("n1", gpus=2),
        (holding("n1", gpu=ONE_GPU, gpu_devices=(0,)),),
        ["free 1 GPU on n1", "ask for 1 GPU instead of 2: then n1 fits"],
    ),
    (
        a_need(gpu=GpuRequest(count=1, models=("L4",))),
        a_node("n1", gpus=1),
        (),
        ["drop resources.gpu.model L4: then n1 fits", "add 1 GPU of model L4 to n1"],
    ),
    (
        a_need(gpu=GpuRequest(vram_bytes=8 * GIB, encoders=2)),
        a_node("n1", gpus=1),
        (holding("n1", gpu=GpuRequest(vram_bytes=12 * GIB, encoders=2), gpu_devices=(0,)),),
        [
            "free 4 GiB of GPU memory and 1 NVENC session on GPU 0 of n1",
            "ask for 4 GiB of GPU memory and 1 NVENC session instead of 8 GiB of GPU memory and "
            "2 NVENC sessions: then n1 fits",
        ],
    ),
    (
        a_need(gpu=GpuRequest(vram_bytes=20 * GIB)),
        a_node("n1", gpus=1),
        (),
        ["ask for 16 GiB of GPU memory instead of 20 GiB: then n1 fits"],
    ),
    (
        a_need(gpu=GpuRequest(share=0.5)),
        a_node("n1", gpus=1),
        (holding("n1", gpu=ONE_GPU, gpu_devices=(0,)),),
        ["free GPU 0 of n1"],
    ),
    (a_need(), a_node("n1", state=NodeState.MAINTENANCE), (), ["set n1 to normal"]),
    (a_need(), a_node("n1", connectivity=Connectivity.LOST), (), ["bring n1 back online"]),
    (a_need(), a_node("n1", stop_orders=2), (), ["wait until n1 has confirmed its stop orders"]),
    (a_need(), a_node("n1", unaccounted=1), (), ["wait until n1 has told of its instances"]),
    (a_need(match=(SSD,)), a_node("n1"), (), ["drop match disk in ssd: then n1 fits"]),
    (
        a_need(forbid=(SSD,)),
        a_node("n1", labels={"disk": "ssd"}),
        (),
        ["drop forbid disk in ssd: then n1 fits"],
    ),
    (a_need(node="n9"), a_node("n1"), (), ["drop placement.node n9: then n1 fits"]),
    (a_need(region="eu"), a_node("n1"), (), ["drop placement.region eu: then n1 fits"]),
    (
        a_need(features=frozenset({"command"})),
        a_node("n1", features=()),
        (),
        ["start the agent of n1 with --allow-commands"],
    ),
    (
        a_need(host_ports=("tcp/80", "tcp/81")),
        a_node("n1"),
        (holding("n1", host_ports=("tcp/81",)),),
        ["free host port tcp/81 on n1", "publish other ports than tcp/81: then n1 fits"],
    ),
    (
        a_need(spread="node", spread_by="tenant", spread_most=1, tenant="a"),
        a_node("n1"),
        (holding("n1", tenant="a"),),
        [
            "end 1 of 1 of tenant a in node n1: then n1 fits",
            "raise placement.spread.most to 2: then n1 fits",
        ],
    ),
]


@pytest.mark.parametrize(("need", "node", "held", "wanted"), CASES)
def test_one_cause_on_one_node_has_a_remedy(
    need: Need, node: GameNode, held: tuple[Allocation, ...], wanted: list[str]
) -> None:
    assert said(need, a_snapshot(node, held=held)) == wanted


def test_the_smallest_change_comes_first_whichever_node_it_is_on() -> None:
    nodes = [a_node(f"n{number}") for number in (1, 2, 3)]
    held = (holding("n1", 1, cpu=8), holding("n2", 2, cpu=5), holding("n3", 3, cpu=7))
    assert said(a_need(cpu=4), a_snapshot(*nodes, held=held)) == [
        "free 1 core on n2",
        "ask for 3 cores instead of 4: then n2 fits",
    ]


def test_the_same_change_is_told_once_for_all_nodes_that_it_would_do_for() -> None:
    nodes = [a_node(f"n{number:02}", state=NodeState.MAINTENANCE) for number in range(12)]
    (remedy,) = remedies(a_need(), a_snapshot(*nodes))[0]
    assert (remedy.nodes, len(remedy.node_ids)) == (12, 12)
    assert remedy.text == "set any of n00, n01, n02 and 9 more to normal"
    dropped = said(a_need(region="eu"), a_snapshot(a_node("a"), a_node("b")))
    assert dropped == ["drop placement.region eu: then a and b fit"]


def test_two_changes_are_told_where_no_single_one_would_do() -> None:
    node = a_node("n1", state=NodeState.MAINTENANCE)
    found = said(a_need(cpu=4, match=(SSD,)), a_snapshot(node))
    assert found == ["set n1 to normal, and drop match disk in ssd"]
    busy = said(a_need(cpu=4), a_snapshot(node, held=(holding("n1", cpu=6),)))
    assert busy[0] == "set n1 to normal, and free 2 cores on it"


def test_what_is_enough_by_itself_is_not_told_with_something_else() -> None:
    full, other = a_node("full"), a_node("other")
    found = said(
        a_need(cpu=4, match=(SSD,)), a_snapshot(full, other, held=(holding("full", cpu=8),))
    )
    assert found == ["drop match disk in ssd: then other fits"]


def test_it_is_said_honestly_when_nothing_small_would_do() -> None:
    near = a_node("near", state=NodeState.MAINTENANCE, cpu=1)
    far = replace(near, id="far", connectivity=Connectivity.LOST)
    found, closest = remedies(a_need(cpu=2, match=(SSD,)), a_snapshot(near, far))
    assert found == ()
    assert closest.startswith("node near lacks the least, and 3 things are against it: is in state")
    assert "does not match disk in ssd" in closest
    assert remedies(a_need(), a_snapshot()) == ((), "")


def fixed(need: Need, **changes: Any) -> Need:
    return replace(need, placement=replace(need.placement, **changes))


def test_the_change_is_enough() -> None:
    """Done as it is told, the pipeline fits."""
    need = a_need(cpu=4, match=(SSD, Match(key="rank", op=">", values=("3",))))
    node = a_node("n1", labels={"rank": "4"})
    assert said(need, a_snapshot(node)) == ["drop match disk in ssd: then n1 fits"]
    after = fixed(need, match=need.placement.match[1:])
    assert choose(after, a_snapshot(node)) == Choice(node_id="n1")
    spread = a_need(spread="node", spread_most=2, template="t")
    held = tuple(holding("n1", number, template="t") for number in range(3))
    (_, raised) = said(spread, a_snapshot(node, held=held))
    assert raised.startswith("raise placement.spread.most to 4")
    assert isinstance(choose(fixed(spread, spread_most=4), a_snapshot(node, held=held)), Choice)
    assert said(spread, a_snapshot(node, held=held))[0].startswith("end 2 of 3 of template t")
    assert isinstance(choose(spread, a_snapshot(node, held=held[:1])), Choice)


def test_every_rule_has_a_remedy() -> None:
    """By the codes that stand in the source of the rules."""
    source = inspect.getsource(rule) + inspect.getsource(shortage)
    written = set(re.findall(r'"([A-Z]+_[A-Z_]+|FORBIDDEN)"', source))
    made = {"REGION_DIFFERS", "ZONE_DIFFERS", "CPU_SHORT", "MEMORY_SHORT", "DISK_SHORT"}
    assert written | made | {RESERVED} == CODES
