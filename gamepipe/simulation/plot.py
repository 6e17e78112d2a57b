"""Pictures of what a simulation found, as PNG. Needs matplotlib."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gamepipe.simulation.course import (
    Course,
    Group,
    rank_of,
    tenant_of,
    unserved_of,
    waits_of,
)
from gamepipe.simulation.replay import Point

SIZE_INCHES = (8, 5)
BINS = 40
HOUR = 3600.0
WAITS = {"0": 0, "1 s": 1, "10 s": 10, "1 min": 60, "10 min": 600, "1 h": 3_600, "10 h": 36_000}
"""What is marked, in seconds."""
LEAST_WAIT = 1.0
"""Below it the scale is linear."""
MOST_NAMED = 10
"""Lines that a legend has room for."""


def plot_allocation(path: Path, curves: Sequence[Sequence[Point]], title: str) -> None:
    """A line for each run: allocated over arrived, in percent of all GPUs."""
    figure, axes = _begin(title, "GPU demand arrived, % of all GPUs", "allocated, % of all GPUs")
    for curve in curves:
        arrived = [100 * point.arrived for point in curve]
        axes.plot(arrived, [100 * point.allocated for point in curve], linewidth=1)
    axes.set_ylim(0, 105)
    figure.savefig(path)


def plot_courses(folder: Path, runs: Sequence[Course], policy: str) -> None:
    """What else is drawn of runs on a made-up fleet."""
    plot_waits(folder / "waits.png", runs, tenant_of, f"Waits by tenant, {policy}")
    plot_waits(folder / "waits-by-class.png", runs, rank_of, f"Waits by class, {policy}")
    latencies = [ms for run in runs for ms in run.latencies]
    plot_latencies(folder / "latency.png", latencies, f"Latency, {policy}")
    plot_preemptions(folder / "preemptions.png", runs, f"What preemption cost, {policy}")


def plot_waits(path: Path, runs: Sequence[Course], group: Group, title: str) -> None:
    """Of each group how many of its requests waited at most so long; those that still wait at the
    end count, too, so the line of a group that has some stays below 100 %."""
    figure, axes = _begin(title, "waited at most", "of the requests, %")
    unserved, waits = unserved_of(runs, group), waits_of(runs, group)
    longest = max((max(seconds) for seconds in waits.values()), default=0.0)
    for name, seconds in waits.items():
        count = len(seconds) + unserved.get(name, 0)
        done = [100 * (place + 1) / count for place in range(len(seconds))]
        until = [0.0, *sorted(seconds), longest]
        axes.step(until, [0.0, *done, done[-1]], where="post", label=name)
    _set_waits(axes, longest)
    if waits:
        axes.legend(loc="lower right")
    axes.set_ylim(0, 105)
    figure.savefig(path)


def _set_waits(axes: Axes, longest: float) -> None:
    """A grace of seconds and a wait of hours are both to be seen."""
    axes.set_xscale("symlog", linthresh=LEAST_WAIT)
    axes.set_xticks(list(WAITS.values()), list(WAITS))
    axes.set_xticks([], minor=True)
    axes.set_xlim(0, max(longest, LEAST_WAIT))


def plot_preemptions(path: Path, runs: Sequence[Course], title: str) -> None:
    """A line for each run: GPU time that preemption has cost so far."""
    figure, axes = _begin(title, "virtual time, hours", "GPU hours lost so far")
    for run in runs:
        cut = run.preempted
        hours = [0.0, *((one.until or 0.0) / HOUR for one in cut), run.seconds / HOUR]
        lost = [0.0, *accumulate(one.lost / HOUR for one in cut)]
        axes.step(hours, [*lost, lost[-1]], where="post", label=f"{len(cut)} with seed {run.seed}")
    if len(runs) <= MOST_NAMED:
        axes.legend(title="preemptions")
    axes.set_ylim(bottom=0)
    figure.savefig(path)


def plot_latencies(path: Path, milliseconds: Sequence[float], title: str) -> None:
    figure, axes = _begin(title, "round trip between player and node, ms", "requests")
    axes.hist(milliseconds, bins=BINS)
    figure.savefig(path)


def _begin(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    """Without pyplot: no window, nothing global."""
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes
