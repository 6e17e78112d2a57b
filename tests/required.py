"""What a machine lacks: the tests that need it are skipped, or fail where it must be there."""

import os
from typing import NoReturn

import pytest


def require(what: str, reason: str) -> NoReturn:
    """Skip with a reason; fail instead when `GAMEPIPE_REQUIRE` names it."""
    if what in os.environ.get("GAMEPIPE_REQUIRE", "").split(","):
        pytest.fail(f"{what} is required here: {reason}")
    pytest.skip(reason)
