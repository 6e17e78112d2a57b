"""Weights and capacity come from the environment, and a wrong one is a sentence."""

import json
from typing import Any

import pytest

from gamepipe.config import Settings
from gamepipe.model.node import GameNode, GpuFacts, NodeFacts, NodeMetrics
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.choose import Choice, Refusal, choose
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.policy import Policy
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.setting import BadSettings, read_settings


@pytest.fixture
def policy_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def read(**given: Any) -> Policy:
        for name, value in given.items():
            text = value if isinstance(value, str) else json.dumps(value)
            monkeypatch.setenv(f"GAMEPIPE_{name}".upper(), text)
        return read_settings(Settings).policy()

    return read


def node(node_id: str, *, cpu: float = 8, load: float = 0.0) -> GameNode:
    gpu = GpuFacts(index=0, model="L4", memory_bytes=24 << 30)
    facts = NodeFacts(cpu=cpu, memory_bytes=1 << 36, disk_bytes=1 << 40, gpus=(gpu,))
    return GameNode(id=node_id, facts=facts, metrics=NodeMetrics(cpu_share=load))


def test_what_is_not_said_keeps_its_default(policy_of: Any) -> None:
    policy = policy_of(weights={"packing": -0.01})
    assert (policy.weights.packing, policy.weights.load) == (-0.01, Policy().weights.load)
    assert policy.capacity == Policy().capacity


def test_a_template_has_weights_of_its_own_on_top_of_the_general_ones(policy_of: Any) -> None:
    """The busy node comes first by its id; only where load counts it is passed over."""
    policy = policy_of(weights={"load": 0, "packing": 0}, template_weights={"chess": {"load": 1}})
    assert policy.weights_for("chess").packing == 0
    snapshot = Snapshot(fleet=Fleet([node("a", load=0.9), node("b")]), policy=policy)
    chosen = [choose(Need(template=name), snapshot) for name in ("go", "chess")]
    assert chosen == [Choice(node_id="a"), Choice(node_id="b")]


def test_factors_and_reserves_say_what_is_sold(policy_of: Any) -> None:
    policy = policy_of(capacity={"cpu_factor": 2, "reserve_cpu": 1, "vram_factor": 1.5})
    fleet = Fleet([node("a")], capacity=policy.capacity)
    vram = GpuRequest(vram_bytes=36 << 30)
    fits = Need(resources=Resources(cpu=15, gpu=vram))
    assert choose(fits, Snapshot(fleet=fleet)) == Choice(node_id="a", gpu_devices=(0,))
    more = choose(Need(resources=Resources(cpu=15.5)), Snapshot(fleet=fleet))
    assert isinstance(more, Refusal)
    assert "has 15 of 15.5 cores free" in more.summary


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("weights", {"pakcing": 1}, "GAMEPIPE_WEIGHTS: `pakcing` is not known: did you mean `pa"),
        ("weights", {"zzz": 1}, "`zzz` is not known: use fragmentation, packing, "),
        ("weights", {"load": "much"}, "GAMEPIPE_WEIGHTS: `load` must be a number"),
        ("weights", {"load": True}, "`load` must be a number"),
        ("weights", '{"load": NaN}', "`load` must be a number"),
        ("weights", 5, 'GAMEPIPE_WEIGHTS: must be a mapping such as {"fragmentation": 1}'),
        ("weights", "packing=1", "GAMEPIPE_WEIGHTS: must be JSON"),
        ("template_weights", {"chess": {"laod": 1}}, "chess.`laod` is not known: did you mean"),
        ("template_weights", {"chess": 1}, "chess must be a mapping such as"),
        ("template_weights", [], "must be a mapping of names to mappings"),
        ("capacity", {"cpu_factor": -1}, "GAMEPIPE_CAPACITY: `cpu_factor` must be at least 0"),
    ],
)
def test_a_wrong_one_is_named_with_what_would_be_right(
    policy_of: Any, name: str, value: Any, said: str
) -> None:
    with pytest.raises(BadSettings) as raised:
        policy_of(**{name: value})
    assert said in raised.value.message


def test_every_wrong_number_is_told_at_once(policy_of: Any) -> None:
    with pytest.raises(BadSettings) as raised:
        policy_of(weights={"laod": 1, "packing": "x"}, capacity={"cpu": 1})
    for said in ("`laod`", "`packing`", "`cpu`"):
        assert said in raised.value.message


def test_a_capacity_beyond_all_measure_is_as_much_as_can_be_counted(policy_of: Any) -> None:
    policy = policy_of(capacity={"cpu_factor": 1e300, "vram_factor": 1e300})
    fleet = Fleet([node("a")], capacity=policy.capacity)
    need = Need(resources=Resources(cpu=4096, gpu=GpuRequest(vram_bytes=1 << 50)))
    assert isinstance(choose(need, Snapshot(fleet=fleet)), Choice)
