"""Facts of the machine, and the file that overrides them."""

import json
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from gamepipe.agent.facts import BadFacts, MetricsSampler, detect_facts, override_facts
from gamepipe.agent.registration import heartbeat_of
from gamepipe.model.node import GpuFacts, NodeFacts
from tests.agent.nvml import Card, Nvml

FACTS = NodeFacts(cpu=2.0, memory_bytes=100, disk_bytes=200, os="an os")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "facts.yaml"
    path.write_text(text)
    return path


def test_facts_are_those_of_this_machine(tmp_path: Path):
    facts = detect_facts(tmp_path, docker_version="29.1", allow_commands=True)
    assert facts.cpu == psutil.cpu_count()
    assert facts.memory_bytes == psutil.virtual_memory().total
    assert facts.disk_bytes == psutil.disk_usage(str(tmp_path)).total
    assert facts.os
    assert facts.kernel
    assert facts.architecture
    assert facts.agent_version
    assert facts.features == ("command", "container")


def test_features_are_only_what_it_can_run(tmp_path: Path):
    assert detect_facts(tmp_path).features == ()
    assert detect_facts(tmp_path, allow_commands=True).features == ("command",)


def test_a_file_overrides_what_it_names_and_nothing_else(tmp_path: Path):
    path = write(
        tmp_path,
        """
        cpu: 8
        memory_bytes: 24GiB
        gpus:
          - model: NVIDIA RTX 4090
            memory_bytes: 24 GiB
            encoders: 8
          - {model: NVIDIA L4, index: 5, uuid: GPU-1}
        """,
    )
    facts = override_facts(FACTS, path)
    assert facts.cpu == 8.0
    assert facts.memory_bytes == 24 * 2**30
    assert (facts.disk_bytes, facts.os) == (200, "an os")
    assert facts.gpus == (
        GpuFacts(index=0, model="NVIDIA RTX 4090", memory_bytes=24 * 2**30, encoders=8),
        GpuFacts(index=5, model="NVIDIA L4", uuid="GPU-1"),
    )


def test_json_is_read_as_well(tmp_path: Path):
    path = write(tmp_path, json.dumps({"gpus": [], "images": ["a", "b"], "docker_version": ""}))
    assert override_facts(FACTS, path).images == ("a", "b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu: []", "gpu: unknown field; use one of cpu, memory_bytes"),
        ("gpus: [{model: A, vram: 4}]", "gpus.0.vram: unknown field; use one of index, model"),
        ("memory_bytes: 24GB", "memory_bytes: write a size such as `24GiB`"),
        ("memory_bytes: -1", "memory_bytes"),
        ("cpu: many", "cpu"),
        ("- a", "write `field: value` lines"),
        ("a: [", "neither YAML nor JSON"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path: Path, text: str, said: str):
    path = write(tmp_path, text)
    with pytest.raises(BadFacts) as caught:
        override_facts(FACTS, path)
    assert said in caught.value.message
    assert str(path) in caught.value.message


def test_every_mistake_is_named_at_once(tmp_path: Path):
    with pytest.raises(BadFacts) as caught:
        override_facts(FACTS, write(tmp_path, "gpu: 1\nram: 2\ncpu: x"))
    assert len(caught.value.message.splitlines()) == 3


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(BadFacts, match="--facts"):
        override_facts(FACTS, tmp_path / "absent.yaml")


def test_a_sample_holds_shares_and_bytes(tmp_path: Path):
    sample = MetricsSampler(tmp_path, lambda: 3).sample()
    assert 0.0 <= sample.cpu_share <= 1.0
    assert 0 < sample.memory_used_bytes < psutil.virtual_memory().total
    assert 0 < sample.disk_used_bytes <= psutil.disk_usage(str(tmp_path)).total
    assert sample.running_steps == 3
    assert sample.network_received_bytes_per_second >= 0.0
    assert sample.network_sent_bytes_per_second >= 0.0


def test_a_sample_holds_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """There is no GPU here: a stand-in answers in the place of `pynvml`'s functions."""
    Nvml([Card(), Card(busy=100)]).install(monkeypatch)
    sample = MetricsSampler(tmp_path, lambda: 0).sample()
    assert [(gpu.index, gpu.share) for gpu in sample.gpus] == [(0, 0.25), (1, 1.0)]
    assert heartbeat_of(sample).gpus[1].encoder_sessions == 2


def test_a_network_that_cannot_be_read_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*, pernic: bool) -> None:
        raise PermissionError("/proc/net/dev")

    sampler = MetricsSampler(tmp_path, lambda: 3)
    monkeypatch.setattr(psutil, "net_io_counters", fail)
    with capture_logs() as logs:
        assert {sampler.sample().running_steps for _ in range(3)} == {3}
        assert MetricsSampler(tmp_path, lambda: 4).sample().running_steps == 4
    assert [log["of"] for log in logs] == ["network", "network"]
