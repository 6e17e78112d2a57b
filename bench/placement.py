"""`python -m bench.placement`: how much of a cluster's GPUs each policy allocates.

By the published protocol (see `gamepipe.simulation.replay`) on a trace of a production cluster,
beside the published figures; then on variants of its tasks, to see whether a policy is good at more
than that trace. The variants are drawn from the tasks by a fixed seed; they are not the published
files of the family, and figures of those do not hold for them.
"""

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from gamepipe.model.node import GameNode
from gamepipe.model.spec import GpuRequest
from gamepipe.scheduling.need import Need
from gamepipe.simulation.policy import POLICIES
from gamepipe.simulation.replay import replay
from gamepipe.simulation.table import read_nodes, read_tasks
from gamepipe.simulation.task import Task, task_of

TRACES = Path(__file__).parents[2] / "shared" / "traces"
PUBLISHED = {
    "Random": 87.47,
    "DotProd": 90.85,
    "GpuClustering": 91.88,
    "GpuPacking": 92.00,
    "BestFit": 93.08,
    "FGD": 95.39,
}
"""On openb_pod_list_default at 130 % arrivals, mean of 10 seeds, in percent."""
TARGET = 95.4
ARRIVALS = 1.3
COMPARED = ("fragmentation", "fgd", "best-fit")
"""On the variants."""


def shares_of(task: Task) -> bool:
    return bool(task.need.resources.gpu.share)


def several(task: Task) -> bool:
    return task.need.resources.gpu.count > 1


def none(task: Task) -> bool:
    return task.need.resources.gpu.is_empty


def more_of(kind: Callable[[Task], bool], share: float) -> Callable[..., list[Task]]:
    """Tasks of which so large a share of the GPU demand (of CPU-only ones: of the number) is of
    this kind."""

    def make(tasks: Sequence[Task], _: Sequence[GameNode], dice: random.Random) -> list[Task]:
        inside = [task for task in tasks if kind(task)]
        outside = [task for task in tasks if not kind(task)]
        weigh = len if kind is none else lambda some: sum(task.gpu for task in some)
        wanted = share / (1 - share) * weigh(outside)
        part = wanted / weigh(inside)
        drawn = dice.choices(inside, k=round(part * len(inside)))
        return [*outside, *drawn]

    return make


def constrained(share: float) -> Callable[..., list[Task]]:
    """So large a share of the GPU tasks accepts only some models, each as often as it occurs."""

    def make(tasks: Sequence[Task], nodes: Sequence[GameNode], dice: random.Random) -> list[Task]:
        cards = [gpu.model for node in nodes for gpu in node.facts.gpus]

        def narrowed(task: Task) -> Task:
            if none(task) or dice.random() >= share:
                return task
            models = tuple(sorted({dice.choice(cards) for _ in range(2)}))
            resources = task.need.resources
            gpu: GpuRequest = replace(resources.gpu, models=models)
            return task_of(Need(resources=replace(resources, gpu=gpu)))

        return [narrowed(task) for task in tasks]

    return make


def at(
    kind: Callable[[Task], bool], name: str, *percents: int
) -> dict[str, Callable[..., list[Task]]]:
    """Variants by name."""
    return {f"{name} {percent} %": more_of(kind, percent / 100) for percent in percents}


VARIANTS: dict[str, Callable[..., list[Task]]] = {
    **at(shares_of, "sharing", 20, 40, 60, 80),
    "sharing 100 %": lambda tasks, _, __: [task for task in tasks if shares_of(task)],
    **at(several, "multi-GPU", 20, 30, 40, 50),
    **at(none, "CPU-only", 5, 10, 20, 25, 50),
    **{f"models {percent} %": constrained(percent / 100) for percent in (10, 20, 25, 33, 50)},
}
"""At the levels of the published family of traces, and beyond."""


def load(traces: Path, variant: str) -> tuple[list[GameNode], list[Task]]:
    nodes_file = traces / "openb_node_list_gpu_node.csv"
    tasks_file = traces / "openb_pod_list_default.csv"
    with nodes_file.open() as nodes, tasks_file.open() as tasks:
        found = read_nodes(nodes, nodes_file.name), read_tasks(tasks, tasks_file.name)
    if not variant:
        return found
    dice = random.Random(f"variant {variant}")
    return found[0], VARIANTS[variant](found[1], found[0], dice)


def allocated(traces: Path, variant: str, policy: str, seed: int) -> float:
    """In percent of all GPUs."""
    nodes, tasks = load(traces, variant)
    return 100 * replay(nodes, tasks, policy=policy, arrivals=ARRIVALS, seed=seed).allocated


def means(
    pool: ProcessPoolExecutor, options: argparse.Namespace, variant: str, policies: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each policy."""
    seeds = range(1, (options.seeds if not variant else options.variant_seeds) + 1)
    jobs = {
        policy: [pool.submit(allocated, options.traces, variant, policy, seed) for seed in seeds]
        for policy in policies
    }
    found = {}
    for policy, runs in jobs.items():
        shares = [run.result() for run in runs]
        spread = statistics.stdev(shares) if len(shares) > 1 else 0.0
        found[policy] = (statistics.fmean(shares), spread)
        said = f"  {variant or 'trace'}, {policy}: {found[policy][0]:.2f} ± {spread:.2f}"
        print(said, file=sys.stderr, flush=True)
    return found


def print_trace(found: dict[str, tuple[float, float]]) -> None:
    print("| policy | GPUs allocated at 130 % arrivals, % |\n|---|---|")
    rows = [(mean, f"| {name} (published) | {mean:.2f} |") for name, mean in PUBLISHED.items()]
    rows += [(mean, f"| {name} | {mean:.2f} ± {dev:.2f} |") for name, (mean, dev) in found.items()]
    print("\n".join(line for _, line in sorted(rows, reverse=True)))


def print_variants(found: dict[str, dict[str, tuple[float, float]]]) -> None:
    print(f"\n| tasks | {' | '.join(COMPARED)} |\n|---|{'---|' * len(COMPARED)}")
    for variant, means_ in found.items():
        cells = " | ".join("{:.2f} ± {:.2f}".format(*means_[policy]) for policy in COMPARED)
        print(f"| {variant} | {cells} |")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, default=TRACES, help="folder of the two CSV files")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--variant-seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    if not options.traces.is_dir():
        parser.error(f"{options.traces} is missing: say where the traces are with --traces")
    return options


def main() -> None:
    options = parse()
    with ProcessPoolExecutor(options.processes) as pool:
        trace = means(pool, options, "", options.policies)
        variants = {name: means(pool, options, name, COMPARED) for name in options.variants}
    if trace:
        print_trace(trace)
    if variants:
        print_variants(variants)
    if options.json:
        document = {"published": PUBLISHED, "trace": trace, "variants": variants}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    if "fragmentation" in trace and trace["fragmentation"][0] <= TARGET:
        sys.exit(f"fragmentation allocated no more than {TARGET} %")


if __name__ == "__main__":
    main()
