"""The sandbox imports again what a workflow module imports: what is heavy stays out of reach."""

import subprocess
import sys

HEAVY = {"sqlmodel", "sqlalchemy", "fastapi", "grpc", "aiodocker", "psycopg", "httpx", "numpy"}
PROGRAM = """
import sys, temporalio.workflow
before = set(sys.modules)
import workflows.pipeline, workflows.retention, workflows.stop_instance
print(*{name.partition(".")[0] for name in set(sys.modules) - before})
"""


def test_workflow_modules_add_nothing_heavy_to_the_sdk() -> None:
    added = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "workflows" in added
    assert HEAVY.isdisjoint(added)
