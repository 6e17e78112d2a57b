"""Pipeline files that the tests of the definition read."""

from pathlib import Path

import pytest

from gamepipe.definition import parse_pipeline
from gamepipe.model.errors import InvalidPipeline
from tests.temporal_fixtures import require

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
_BEAGLE = ROOT.parent / "shared" / "pipelines" / "beagle-start-platform.yaml"


@pytest.fixture
def beagle_text() -> str:
    """A real pipeline of open-beagle/beagle-wind-game (MIT); it is not part of this repository."""
    if not _BEAGLE.is_file():
        require("shared", f"{_BEAGLE} is missing: put the shared folder beside the repository")
    return _BEAGLE.read_text(encoding="utf-8")


def found(error: InvalidPipeline) -> list[tuple[int, int, str]]:
    """(line, column, path) of every mistake."""
    return [(mistake.line, mistake.column, mistake.path) for mistake in error.mistakes]


def mistakes(text: str | bytes) -> InvalidPipeline:
    """What reading a wrong file raises."""
    with pytest.raises(InvalidPipeline) as caught:
        parse_pipeline(text, file="bad.yaml")
    return caught.value
