"""Files of the folder `shared` beside the repository; they are no part of it."""

from pathlib import Path

import pytest

from tests.temporal_fixtures import require

_BEAGLE = Path(__file__).parents[2] / "shared" / "pipelines" / "beagle-start-platform.yaml"


@pytest.fixture(scope="session")
def beagle_text() -> str:
    """A real pipeline of open-beagle/beagle-wind-game (MIT)."""
    if not _BEAGLE.is_file():
        require("shared", f"{_BEAGLE} is missing: put the shared folder beside the repository")
    return _BEAGLE.read_text(encoding="utf-8")
