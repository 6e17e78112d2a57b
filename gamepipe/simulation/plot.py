"""Pictures of what a simulation found, as PNG. Needs matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gamepipe.simulation.replay import Point

SIZE_INCHES = (8, 5)
BINS = 40


def plot_allocation(path: Path, curves: Sequence[Sequence[Point]], title: str) -> None:
    """A line for each run: allocated over arrived, in percent of all GPUs."""
    figure, axes = _begin(title, "GPU demand arrived, % of all GPUs", "allocated, % of all GPUs")
    for curve in curves:
        arrived = [100 * point.arrived for point in curve]
        axes.plot(arrived, [100 * point.allocated for point in curve], linewidth=1)
    axes.set_ylim(0, 105)
    figure.savefig(path)


def plot_waits(
    path: Path, waits: Mapping[str, Sequence[float]], title: str, unserved: Mapping[str, int]
) -> None:
    """Of each tenant how many of its requests waited at most so long; those that still wait at the
    end count, too, so the line of a tenant that has some stays below 100 %."""
    figure, axes = _begin(title, "waited at most, minutes", "of the tenant's requests, %")
    for tenant, seconds in waits.items():
        minutes = sorted(one / 60 for one in seconds)
        count = len(minutes) + unserved.get(tenant, 0)
        done = [100 * (place + 1) / count for place in range(len(minutes))]
        axes.step([0.0, *minutes], [0.0, *done], where="post", label=tenant)
    if waits:
        axes.legend()
    axes.set_ylim(0, 105)
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
