"""Names of steps before their log lines, one under the other."""

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from gamepipe.cli import show

WIDEST = 24


class StepPrefix:
    """`fetch  │ `, as wide for every step of a pipeline."""

    def __init__(self, steps: Sequence[dict[str, Any]]) -> None:
        self._names = {step["index"]: show.one_line(step["name"]) for step in steps}
        self._width = min(WIDEST, max(map(cell_len, self._names.values()), default=0))

    def of(self, index: int) -> str:
        """An earlier generation may have had steps that the pipeline has no more."""
        name = self._names.get(index, f"step-{index + 1}")
        return f"{set_cell_size(name, self._width)} │ "
