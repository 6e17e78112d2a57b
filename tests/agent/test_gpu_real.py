"""GPUs by the real NVML, where there is one: what the agent says, beside what the driver says."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gamepipe.agent.gpu import GpuMeter, detect_gpus
from gamepipe.model.node import GpuFacts, GpuUse
from tests.required import require
from tests.waiting import eventually

MIB, TAKEN = 1 << 20, 4 << 30
LOAD = Path(__file__).with_name("cuda_load.py")


@pytest.fixture(scope="module")
def gpus() -> tuple[GpuFacts, ...]:
    found = detect_gpus()
    if not found:
        require("gpu", "there is no NVIDIA GPU: run the tests where `nvidia-smi` lists one")
    return found


def asked(*names: str) -> list[list[str]]:
    """Of each device, by the driver's own program."""
    command = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return list(csv.reader(lines, skipinitialspace=True))


@contextmanager
def busy(gpu: GpuFacts) -> Iterator[tuple[int, str]]:
    """The device is busy meanwhile. What a process with its name for a mask saw: how many, and the
    first."""
    shown = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpu.uuid}
    process = subprocess.Popen(
        [sys.executable, str(LOAD), str(TAKEN)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | shown,
    )
    with process:
        assert process.stdout is not None
        count, name = process.stdout.readline().split()
        yield int(count), name
    assert process.returncode == 0


def test_facts_are_what_the_driver_says(gpus: tuple[GpuFacts, ...]) -> None:
    said = asked("index", "name", "uuid", "memory.total")
    told = [[str(one.index), one.model, one.uuid, str(one.memory_bytes // MIB)] for one in gpus]
    print(gpus)
    assert told == said


async def test_a_busy_device_is_seen_to_be_busy_and_its_uuid_shows_that_one_alone(
    gpus: tuple[GpuFacts, ...],
) -> None:
    for gpu in gpus:
        await check_load_is_seen(gpu)


async def check_load_is_seen(gpu: GpuFacts) -> None:
    meter = GpuMeter()

    def use() -> GpuUse:
        return next(one for one in meter.sample() if one.index == gpu.index)

    before = use()
    with busy(gpu) as seen:
        assert seen == (1, gpu.uuid)
        await eventually(lambda: use().share > 0.5, what="the load to be measured")
        during, said = use().memory_used_bytes, asked("memory.used")[gpu.index][0]
        print(before, during, said)
        assert during - before.memory_used_bytes >= TAKEN
        assert abs(during // MIB - int(said)) <= 1
    await eventually(lambda: use().memory_used_bytes < before.memory_used_bytes + TAKEN)
