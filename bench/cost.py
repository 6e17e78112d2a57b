"""CPU seconds and peak memory of processes, from the kernel."""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, kw_only=True)
class Usage:
    """CPU seconds so far, with those of ended children."""

    cpu_seconds: Mapping[str, float]

    @classmethod
    def of(cls, pids: Mapping[str, int]) -> "Usage":
        return cls(cpu_seconds={name: _cpu(pid) for name, pid in pids.items()})

    def since(self, earlier: "Usage", count: int) -> dict[str, float]:
        """Milliseconds of CPU for each of `count` pipelines, by process."""
        return {
            name: 1000 * (now - earlier.cpu_seconds[name]) / count
            for name, now in self.cpu_seconds.items()
        }


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def peak_memory_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """`VmHWM` of each process in MiB."""
    return {name: _peak(pid) for name, pid in pids.items()}


def _peak(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
