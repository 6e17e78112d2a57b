"""Files of the folder `shared` beside the repository; they are no part of it."""

from pathlib import Path

import pytest

from tests.required import require

_BEAGLE = Path(__file__).parents[2] / "shared" / "pipelines" / "beagle-start-platform.yaml"


def find_beagle() -> str | None:
    """A real pipeline of open-beagle/beagle-wind-game (MIT); None where it is missing."""
    return _BEAGLE.read_text(encoding="utf-8") if _BEAGLE.is_file() else None


@pytest.fixture(scope="session")
def beagle_text() -> str:
    """That pipeline; skips where it is missing."""
    text = find_beagle()
    if text is None:
        require("shared", f"{_BEAGLE} is missing: put the shared folder beside the repository")
        raise AssertionError("unreachable")
    return text
