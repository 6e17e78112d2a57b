"""How a process ends: with its own status, whatever threads would do to it later."""

import subprocess
import sys
import textwrap

import pytest

BEGIN = """
import atexit, os, sys
from gamepipe.leaving import leave
atexit.register(os.abort)  # as threads do that outlive the loop
def main():
    sys.stdout.write("said")
"""


def _run(last: str) -> tuple[int, str, str]:
    program = BEGIN + textwrap.indent(last, "    ") + "\nleave(main)\n"
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("last", "status", "error"),
    [
        ("return", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('worker: no settings')", 1, "worker: no settings\n"),
    ],
)
def test_its_status_is_what_it_says_and_nothing_that_it_wrote_is_lost(
    last: str, status: int, error: str
) -> None:
    assert _run(last) == (status, "said", error)


def test_an_error_is_told_with_its_traceback() -> None:
    _, _, error = _run("raise RuntimeError('broken')")
    assert "RuntimeError: broken" in error


def test_output_that_cannot_be_written_is_no_success() -> None:
    program = BEGIN + "\nleave(main)\n"
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.returncode != 0
    assert "No space left on device" in ended.stderr


@pytest.mark.parametrize(
    ("last", "status"), [("pass", 0), ("sys.exit(3)", 3), ("sys.exit('no')", 1)]
)
def test_who_is_started_without_output_ends_as_well(last: str, status: int) -> None:
    program = BEGIN.replace('sys.stdout.write("said")', last) + "\nleave(main)\n"
    closed = [sys.executable, "-c", program]
    ended = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *closed], check=False)
    assert ended.returncode == status
