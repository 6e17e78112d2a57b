"""Fixtures of every test: real servers, started once, on free ports."""

import gc

import pytest
import structlog

pytest_plugins = [
    "tests.temporal_fixtures",
    "tests.postgres_fixtures",
    "tests.store_fixtures",
    "tests.docker_fixtures",
    "tests.disk_fixtures",
    "tests.shared_fixtures",
    "tests.stack_fixtures",
]

# Before 3.11.8, a collection in the middle of `ast.parse` that calls Python (Hypothesis watches
# collections) fails with "AST constructor recursion depth mismatch" (python/cpython#106905).
gc.disable()

# A traceback as rich draws it takes 0.4 s, in which a gateway in this process hears nobody.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Every test module is parsed now. What was made until now stays: no collection looks at it."""
    del session
    gc.freeze()
    gc.enable()
