"""The first process of a script's container ends as the script does, however often it is told."""

import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import which
from signal import SIGTERM

import pytest

from gamepipe.agent.container_config import SUPERVISOR
from tests.required import require

SHELLS = [["busybox", "sh"], ["sh"], ["bash"]]
SCRIPT = "trap 'echo bye; exit 3' TERM\necho ready\nwhile true; do sleep 0.05; done"
TRIES = 100


def told_twice(shell: list[str], between: float) -> tuple[str, int]:
    """What the script says once it is ready, and the status of the first process."""
    program = [*shell, "-c", SUPERVISOR, "gamepipe", SCRIPT]
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *program],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as outside:
        assert outside.stdout is not None
        assert outside.stdout.readline() == "ready\n"
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
        first = int(children.read_text().split()[0])
        os.kill(first, SIGTERM)
        time.sleep(between)
        with suppress(ProcessLookupError):
            os.kill(first, SIGTERM)
        return outside.stdout.read(), outside.wait()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_second_term_does_not_hide_how_the_script_ended(shell: list[str]) -> None:
    if os.geteuid() or not which("unshare") or not which(shell[0]):
        require("docker", f"a namespace of processes needs root, unshare and {shell[0]}")
    dice = random.Random(7)
    with ThreadPoolExecutor(2) as lanes:
        tries = [lanes.submit(told_twice, shell, dice.random() * 0.004) for _ in range(TRIES)]
        assert {one.result() for one in tries} == {("bye\n", 3)}
