"""Tables of nodes and of tasks as CSV, with the columns of the public traces of GPU clusters.

A node has `sn`, `cpu_milli`, `memory_mib`, `gpu` (devices) and `model`; a task has `cpu_milli`,
`memory_mib`, `num_gpu`, `gpu_milli` (of one device, where `num_gpu` is 1; 1000 is a whole one) and
`gpu_spec` (models split by `|`; empty: any). Other columns are ignored.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.need import Need
from gamepipe.simulation.task import Task, task_of

T = TypeVar("T")
MIB = 1 << 20
WHOLE_MILLI = 1_000
MOST_MISTAKES = 20
"""That are told at once."""
MOST_GPUS = 1_024
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
TASK_COLUMNS = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec")


class WrongTable(Exception):
    """What is wrong, each with file, line, column and remedy."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class _Wrong(Exception):
    """One cell: its column, and what is wrong."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True, slots=True)
class _Row:
    """Cells by column."""

    cells: Mapping[str, str]

    def text(self, column: str) -> str:
        """Raises `_Wrong`."""
        if self.cells[column] is None:
            raise _Wrong(
                column, "the line ends before it: write as many cells as there are columns"
            )
        return self.cells[column].strip()

    def number(self, column: str, *, empty: int | None = None) -> int:
        """Raises `_Wrong`."""
        text = self.text(column)
        if not text and empty is not None:
            return empty
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if value < 0 or value != value // 1:
            raise _Wrong(column, f"{text!r} is no whole number: write 0 or more")
        return int(value)


def read_nodes(lines: Iterable[str], file: str) -> list[GameNode]:
    """Raises `WrongTable`."""
    seen: set[str] = set()

    def node(row: _Row) -> GameNode:
        name = row.text("sn")
        if not name:
            raise _Wrong("sn", "is empty: give each node a name of its own")
        if name in seen:
            raise _Wrong("sn", f"{name!r} is there twice: give each node a name of its own")
        seen.add(name)
        return _node(name, row)

    return _read(lines, file, NODE_COLUMNS, node, "nodes")


def _node(name: str, row: _Row) -> GameNode:
    count, model = row.number("gpu", empty=0), row.text("model")
    if count > MOST_GPUS:
        raise _Wrong("gpu", f"{count} devices: a node has {MOST_GPUS} at most")
    gpus = tuple(GpuFacts(index=index, model=model) for index in range(count))
    cpu, memory = row.number("cpu_milli") / 1000, row.number("memory_mib") * MIB
    return GameNode(id=name, facts=NodeFacts(cpu=cpu, memory_bytes=memory, disk_bytes=0, gpus=gpus))


def read_tasks(lines: Iterable[str], file: str) -> list[Task]:
    """Raises `WrongTable`."""
    # A table has few different tasks: equal ones share a need.
    shared = cache(lambda resources: task_of(Need(resources=resources)))
    return _read(lines, file, TASK_COLUMNS, lambda row: shared(_resources(row)), "tasks")


def _resources(row: _Row) -> Resources:
    return Resources(
        cpu=row.number("cpu_milli") / 1000,
        memory_bytes=row.number("memory_mib") * MIB,
        gpu=_gpu(row),
    )


def _gpu(row: _Row) -> GpuRequest:
    count = row.number("num_gpu", empty=0)
    models = tuple(part.strip() for part in row.text("gpu_spec").split("|") if part.strip())
    if not count:
        return GpuRequest()
    if count > 1:
        return GpuRequest(count=count, models=models)
    milli = row.number("gpu_milli", empty=WHOLE_MILLI)
    if not 0 < milli <= WHOLE_MILLI:
        raise _Wrong("gpu_milli", f"{milli} of one GPU: write 1 to {WHOLE_MILLI}")
    if milli == WHOLE_MILLI:
        return GpuRequest(count=1, models=models)
    return GpuRequest(share=milli / WHOLE_MILLI, models=models)


def _read(
    lines: Iterable[str], file: str, columns: tuple[str, ...], make: Callable[[_Row], T], what: str
) -> list[T]:
    reader = csv.DictReader(lines, skipinitialspace=True)
    mistakes: list[str] = []
    try:
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            remedy = f"the first line must name {', '.join(columns)}"
            raise WrongTable([f"{file}:1: column {', '.join(missing)} is missing: {remedy}"])
        found = list(_made(reader, file, make, mistakes))
    except csv.Error as error:
        raise WrongTable([f"{file}:{reader.line_num}: no CSV: {error}"]) from error
    if mistakes:
        raise WrongTable(mistakes)
    if not found:
        raise WrongTable([f"{file}:{reader.line_num}: no {what}: write one in each line"])
    return found


def _made(
    reader: "csv.DictReader[str]",
    file: str,
    make: Callable[[_Row], T],
    mistakes: list[str],
) -> Iterator[T]:
    for cells in reader:
        at = f"{file}:{reader.line_num}"
        try:
            yield make(_Row(cells))
        except _Wrong as wrong:
            mistakes.append(f"{at}: column {wrong.column}: {wrong}")
            if len(mistakes) >= MOST_MISTAKES:
                raise WrongTable([*mistakes, f"{at}: and maybe more"]) from wrong
