"""Pipeline files that the tests of the definition read."""

from pathlib import Path

import pytest

from gamepipe.definition import parse_pipeline
from gamepipe.model.errors import InvalidPipeline

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def found(error: InvalidPipeline) -> list[tuple[int, int, str]]:
    """(line, column, path) of every mistake."""
    return [(mistake.line, mistake.column, mistake.path) for mistake in error.mistakes]


def mistakes(text: str | bytes) -> InvalidPipeline:
    """What reading a wrong file raises."""
    with pytest.raises(InvalidPipeline) as caught:
        parse_pipeline(text, file="bad.yaml")
    return caught.value
