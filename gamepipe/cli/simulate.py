"""`gamepipe simulate`: placement policies on a trace, or on a made-up fleet."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gamepipe.cli import show
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.setting import checked
from gamepipe.config import Settings
from gamepipe.simulation import table
from gamepipe.simulation.course import Course
from gamepipe.simulation.fleet import made_nodes, made_requests
from gamepipe.simulation.policy import DEFAULT, POLICIES
from gamepipe.simulation.replay import NoGpu, Point, Replay, replay
from gamepipe.simulation.report import course_report, replay_report
from gamepipe.simulation.table import WrongTable
from gamepipe.simulation.timeline import run

T = TypeVar("T")
R = TypeVar("R")
PLOTS_NEED = "pip install 'gamepipe[simulate]'"


def simulate(
    nodes: Annotated[
        Path | None, typer.Option(help="CSV of nodes: sn, cpu_milli, memory_mib, gpu, model.")
    ] = None,
    tasks: Annotated[
        Path | None,
        typer.Option(help="CSV of tasks: cpu_milli, memory_mib, num_gpu, gpu_milli, gpu_spec."),
    ] = None,
    policy: Annotated[str, typer.Option(help=f"One of: {', '.join(POLICIES)}.")] = DEFAULT,
    arrivals: Annotated[
        float, typer.Option(help="GPU demand that arrives, times the GPUs of the nodes.", min=0.01)
    ] = 1.3,
    seeds: Annotated[int, typer.Option(help="Runs, each with a seed of its own.", min=1)] = 10,
    first_seed: Annotated[int, typer.Option(help="Of these runs.", min=0)] = 1,
    fleet: Annotated[int, typer.Option(help="Nodes of the made-up fleet.", min=1)] = 100,
    requests: Annotated[int, typer.Option(help="That come to it.", min=1)] = 5_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results there.", metavar="FILE")
    ] = None,
    plot_dir: Annotated[Path | None, typer.Option(help="Draw them there, as PNG.")] = None,
) -> None:
    """Replay tasks on nodes from two CSV files, each placed on arrival and never removed; or,
    without files, play players on a made-up fleet: they come, wait, play and leave."""
    if policy not in POLICIES:
        raise CommandFailed(
            f"--policy {policy!r} is unknown: choose {', '.join(POLICIES)}", ExitStatus.USAGE
        )
    if (nodes is None) != (tasks is None):
        raise CommandFailed("--nodes and --tasks go together: give both", ExitStatus.USAGE)
    if plot_dir is not None and not find_spec("matplotlib"):
        raise CommandFailed(f"--plot-dir needs matplotlib: {PLOTS_NEED}", ExitStatus.USAGE)
    chosen = range(first_seed, first_seed + seeds)
    try:
        if nodes is not None and tasks is not None:
            _replay(nodes, tasks, policy, arrivals, chosen, json_file, plot_dir)
        else:
            _play(fleet, requests, policy, arrivals, chosen, json_file, plot_dir)
    except NoGpu:
        raise CommandFailed(
            "there is nothing to measure: the nodes or the tasks have no GPU", ExitStatus.USAGE
        ) from None


# --- on files -----------------------------------------------------------------------------------


def _replay(
    nodes: Path,
    tasks: Path,
    policy: str,
    arrivals: float,
    seeds: Sequence[int],
    json_file: Path | None,
    plot_dir: Path | None,
) -> None:
    fleet, work = _read(nodes, table.read_nodes), _read(tasks, table.read_tasks)

    def one(seed: int, tell: Callable[[int, int], None]) -> Replay:
        return replay(fleet, work, policy=policy, arrivals=arrivals, seed=seed, tell=tell)

    runs = _runs(policy, seeds, one)
    report = replay_report(policy, arrivals, runs)
    rows = [
        [str(run.seed), str(run.tasks), str(run.dropped), f"{100 * run.allocated:.2f}"]
        for run in runs
    ]
    mean = f"{report['allocated_percent']:.2f} ± {report['deviation_percent']:.2f}"
    titles = ("seed", "tasks", "dropped", "GPUs allocated, %")
    show.print_table(titles, [*rows, ["mean", "", "", mean]], "")
    _write(json_file, report)
    _draw(plot_dir, policy, curves=[run.curve for run in runs])


def _read(path: Path, read: Callable[[Iterable[str], str], list[T]]) -> list[T]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read(file, str(path))
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}", ExitStatus.USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{path} is no text: save it as UTF-8", ExitStatus.USAGE) from error
    except WrongTable as wrong:
        raise CommandFailed(
            f"cannot use {path}", ExitStatus.USAGE, details=wrong.mistakes
        ) from wrong


# --- on a made-up fleet -------------------------------------------------------------------------


def _play(
    count: int,
    requests: int,
    policy: str,
    load: float,
    seeds: Sequence[int],
    json_file: Path | None,
    plot_dir: Path | None,
) -> None:
    order = checked(Settings).order()

    def one(seed: int, tell: Callable[[int, int], None]) -> Course:
        nodes = made_nodes(count, seed)
        coming = made_requests(nodes, requests, load, seed)
        return run(nodes, coming, policy=policy, seed=seed, order=order, tell=tell)

    runs = _runs(policy, seeds, one)
    report = course_report(policy, load, runs, order)
    titles = (
        *("seed", "placed", "waiting", "GPUs allocated, %"),
        *("latency p50, ms", "p95, ms", "wait p50", "p95"),
    )
    show.print_table(titles, [_row(found, run.waits) for found, run in _with(report, runs)], "")
    _print_tenants(report)
    _write(json_file, report)
    _draw(
        plot_dir,
        policy,
        curves=[run.curve for run in runs],
        waits=_together(run.waits for run in runs),
        unserved=_added(run.unserved for run in runs),
        latencies=[ms for run in runs for ms in run.latencies],
    )


def _with(report: dict[str, Any], runs: Sequence[Course]) -> Iterable[tuple[Any, Course]]:
    return zip(report["runs"], runs, strict=True)


def _row(found: dict[str, Any], waits: dict[str, list[float]]) -> list[str]:
    every = sorted(wait for of_tenant in waits.values() for wait in of_tenant)
    middle, high = (every[int(part * (len(every) - 1))] if every else 0.0 for part in (0.5, 0.95))
    latency = found["latency_ms"]
    return [
        *(str(found[name]) for name in ("seed", "placed", "waiting")),
        f"{found['allocated_percent']:.2f}",
        *(f"{latency[name]:.0f}" for name in ("p50", "p95")),
        *(show.span(wait) for wait in (middle, high)),
    ]


def _print_tenants(report: dict[str, Any]) -> None:
    """Means over the runs."""
    found: dict[str, list[dict[str, float]]] = {}
    runs = len(report["runs"])
    for one in report["runs"]:
        for tenant, waits in one["wait_seconds"].items():
            found.setdefault(tenant, []).append(waits)
    rows = [
        [
            tenant,
            f"{report['weights'][tenant]:g}",
            *(
                show.span(sum(one[name] for one in waits) / len(waits))
                for name in ("mean", "p50", "p95")
            ),
            f"{sum(one['still_waiting'].get(tenant, 0) for one in report['runs']) / runs:.0f}",
        ]
        for tenant, waits in found.items()
    ]
    titles = ("tenant", "weight", "mean wait", "p50", "p95", "still waiting")
    show.print_table(titles, rows, "no request was placed")


def _added(parts: Iterable[dict[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for part in parts:
        found.update(part)
    return found


def _together(parts: Iterable[dict[str, list[float]]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.items():
            found.setdefault(name, []).extend(values)
    return found


# --- both ---------------------------------------------------------------------------------------


def _runs(
    policy: str, seeds: Sequence[int], one: Callable[[int, Callable[[int, int], None]], R]
) -> list[R]:
    with _progress() as progress:
        bar = progress.add_task(policy, total=None)
        found = []
        for number, seed in enumerate(seeds, 1):
            progress.update(bar, description=f"{policy}, run {number} of {len(seeds)}")
            found.append(one(seed, lambda at, of: progress.update(bar, completed=at, total=of)))
        return found


@contextmanager
def _progress() -> Iterator[Progress]:
    """On standard error, and only where somebody looks."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=show.errors,
        transient=True,
        disable=not show.errors.is_terminal,
    ) as progress:
        yield progress


def _write(path: Path | None, report: dict[str, Any]) -> None:
    if path is None:
        return
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"cannot write {path}: {error.strerror}") from error


def _draw(
    folder: Path | None,
    policy: str,
    *,
    curves: Sequence[Sequence[Point]],
    waits: dict[str, list[float]] | None = None,
    unserved: Mapping[str, int] | None = None,
    latencies: Sequence[float] | None = None,
) -> None:
    if folder is None:
        return
    from gamepipe.simulation import plot  # noqa: PLC0415  # slow to import, and an extra

    try:
        folder.mkdir(parents=True, exist_ok=True)
        plot.plot_allocation(folder / "allocation.png", curves, f"Allocation, {policy}")
        if waits is not None:
            plot.plot_waits(
                folder / "waits.png", waits, f"Waits by tenant, {policy}", unserved or {}
            )
        if latencies is not None:
            plot.plot_latencies(folder / "latency.png", latencies, f"Latency, {policy}")
    except OSError as error:
        raise CommandFailed(f"cannot draw in {folder}: {error.strerror}") from error
    show.say(f"plots are in {folder}")
