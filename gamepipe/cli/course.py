"""What `gamepipe simulate` prints of runs on a made-up fleet."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from gamepipe.cli import show
from gamepipe.simulation.course import Course
from gamepipe.simulation.rank import CLASSES

WAITS = ("mean wait", "p50", "p95", "still waiting", "preempted")
_PARTS = ("mean", "p50", "p95")
_COUNTED = ("still_waiting", "preempted")


def print_course(report: dict[str, Any], runs: Sequence[Course]) -> None:
    """By run, by tenant and by class."""
    titles = (
        *("seed", "placed", "waiting", "GPUs allocated, %"),
        *("latency p50, ms", "p95, ms", "wait p50", "p95", "preempted", "GPU time lost, %"),
    )
    found = zip(report["runs"], runs, strict=True)
    show.print_table(titles, [_row(one, run.waits) for one, run in found], "")
    _print_tenants(report)
    _print_classes(report)
    _print_losses(report)


def _row(found: dict[str, Any], waits: dict[str, list[float]]) -> list[str]:
    every = sorted(wait for of_tenant in waits.values() for wait in of_tenant)
    middle, high = (every[int(part * (len(every) - 1))] if every else 0.0 for part in (0.5, 0.95))
    latency = found["latency_ms"]
    return [
        *(str(found[name]) for name in ("seed", "placed", "waiting")),
        f"{found['allocated_percent']:.2f}",
        *(f"{latency[name]:.0f}" for name in ("p50", "p95")),
        *(show.span(wait) for wait in (middle, high)),
        str(len(found["preemptions"])),
        f"{found['lost_percent']:.2f}",
    ]


def _print_tenants(report: dict[str, Any]) -> None:
    names = sorted(_names(report, ""))
    rows = [[name, f"{report['weights'][name]:g}", *_means(report, name, "")] for name in names]
    show.print_table(("tenant", "weight", *WAITS), rows, "")


def _print_classes(report: dict[str, Any]) -> None:
    names = _names(report, "_by_class")
    rows = [[name, *_means(report, name, "_by_class")] for name in CLASSES if name in names]
    show.print_table(("class", *WAITS), rows, "")


def _names(report: dict[str, Any], by: str) -> set[str]:
    """Of those who were placed, or wait."""
    runs = report["runs"]
    return {
        name for run in runs for name in (*run[f"wait_seconds{by}"], *run[f"still_waiting{by}"])
    }


def _means(report: dict[str, Any], name: str, by: str) -> list[str]:
    """Over the runs; the waits over those in which any was placed."""
    runs = report["runs"]
    waits = [one for run in runs if (one := run[f"wait_seconds{by}"].get(name))]
    counts = [[run[f"{what}{by}"].get(name, 0) for run in runs] for what in _COUNTED]
    return [
        *(show.span(fmean(one[part] for one in waits)) if waits else "-" for part in _PARTS),
        *(f"{fmean(count):.0f}" for count in counts),
    ]


def _print_losses(report: dict[str, Any]) -> None:
    """Nothing where nobody was preempted."""
    runs = report["runs"]
    cut = [(run["seed"], one) for run in runs for one in run["preemptions"]]
    if not cut:
        return
    victims = len({(seed, one["request"]) for seed, one in cut})
    claimants = len({(seed, one["for"]) for seed, one in cut})
    hours = sum(run["lost_gpu_seconds"] for run in runs) / 3600
    show.say(
        f"{len(cut)} preemptions of {victims} requests for {claimants} others; "
        f"{hours:.1f} GPU hours of work were lost"
    )
