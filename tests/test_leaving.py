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
