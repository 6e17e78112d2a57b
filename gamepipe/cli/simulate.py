"""`gamepipe simulate`: placement policies on a trace, or on a made-up fleet."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gamepipe.cli import show
from gamepipe.cli.course import print_course
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.setting import checked
from gamepipe.config import Settings
from gamepipe.simulation import table
from gamepipe.simulation.course import Course
from gamepipe.simulation.fleet import made_nodes, made_requests
from gamepipe.simulation.policy import DEFAULT, POLICIES
from gamepipe.simulation.rank import Ranks
from gamepipe.simulation.replay import NoGpu, Replay, replay
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
    urgent: Annotated[
        float, typer.Option(help="Part of these that are of a higher class.", min=0, max=1)
    ] = 0.05,
    preemptible: Annotated[
        float, typer.Option(help="Part of the others that may be preempted.", min=0, max=1)
    ] = 0.3,
    preemption: Annotated[
        bool | None,
        typer.Option(help="Whether anybody is; else GAMEPIPE_PREEMPTION says."),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option(help="In place of GAMEPIPE_LIMITS, and written as it is.", metavar="JSON"),
    ] = None,
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
            world = _World(
                nodes=fleet,
                requests=requests,
                load=arrivals,
                ranks=Ranks(urgent=urgent, preemptible=preemptible),
            )
            settings = _settings(preemption, limits)
            _play(world, policy, settings, chosen, json_file, plot_dir)
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
    _draw(plot_dir, policy, runs)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _World:
    """What is made up."""

    nodes: int
    requests: int
    load: float
    ranks: Ranks


def _settings(preemption: bool | None, limits: str | None) -> Settings:
    """Those of the service, where the command line says nothing else."""
    given: dict[str, Any] = {} if preemption is None else {"preemption": preemption}
    if limits is not None:
        try:
            given["limits"] = json.loads(limits)
        except ValueError:
            example = '{"label:mode": {"event": 5}}'
            raise CommandFailed(
                f"--limits must be JSON, such as '{example}'", ExitStatus.USAGE
            ) from None
    return checked(Settings, given, flags={"limits": "--limits"})


def _play(
    world: _World,
    policy: str,
    settings: Settings,
    seeds: Sequence[int],
    json_file: Path | None,
    plot_dir: Path | None,
) -> None:
    order, grace = settings.order(), settings.grace

    def one(seed: int, tell: Callable[[int, int], None]) -> Course:
        nodes = made_nodes(world.nodes, seed)
        coming = made_requests(nodes, world.requests, world.load, seed, world.ranks)
        return run(nodes, coming, policy=policy, seed=seed, order=order, grace=grace, tell=tell)

    runs = _runs(policy, seeds, one)
    report = course_report(policy, world.load, runs, order, world.ranks)
    print_course(report, runs)
    _write(json_file, report)
    _draw(plot_dir, policy, runs)


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


def _draw(folder: Path | None, policy: str, runs: Sequence[Replay] | Sequence[Course]) -> None:
    if folder is None:
        return
    from gamepipe.simulation import plot  # noqa: PLC0415  # slow to import, and an extra

    courses = [run for run in runs if isinstance(run, Course)]
    curves = [run.curve for run in runs]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plot.plot_allocation(folder / "allocation.png", curves, f"Allocation, {policy}")
        if courses:
            plot.plot_courses(folder, courses, policy)
    except OSError as error:
        raise CommandFailed(f"cannot draw in {folder}: {error.strerror}") from error
    show.say(f"plots are in {folder}")
