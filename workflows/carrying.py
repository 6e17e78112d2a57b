"""What a run that continues as new need not carry: the store has it."""

import json
from collections.abc import Iterable
from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe.model.expression import parse_condition
    from gamepipe.model.interpolation import references
    from gamepipe.model.record import StepRecord
    from gamepipe.model.run import BookState
    from gamepipe.model.spec import PipelineSpec, Step


def without_needless_outputs(book: BookState, spec: PipelineSpec) -> BookState:
    """The book with only those outputs that steps which have not ended may still ask for."""
    needed: set[tuple[str, str]] = set()
    for step, record in zip(spec.steps, book.steps, strict=True):
        if not record.state.is_terminal:
            needed.update(_named_by(step))
    return replace(book, steps=tuple(_cut(record, needed) for record in book.steps))


def _named_by(step: Step) -> set[tuple[str, str]]:
    named = set(references(step).outputs)
    if step.condition:
        names = [name.reference for name in parse_condition(step.condition).names]
        named.update((name.name, name.output) for name in names if name.root == "steps")
    return named


def _cut(record: StepRecord, needed: set[tuple[str, str]]) -> StepRecord:
    kept = {key: value for key, value in record.outputs.items() if (record.name, key) in needed}
    return replace(record, outputs=kept)


def size_of(steps: Iterable[StepRecord]) -> int:
    """Bytes of all outputs of these steps."""
    return sum(bytes_of(step.outputs) for step in steps)


def bytes_of(outputs: dict[str, str]) -> int:
    """Bytes as JSON, which is how they travel."""
    return len(json.dumps(outputs)) if outputs else 0
