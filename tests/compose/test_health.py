"""The health checks of the image, told wrong things: one line that names the remedy."""

import os
import subprocess
import sys

import pytest

from tests.compose.composefile import ROOT


def check(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / "health.py", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "variable", "value", "remedy"),
    [
        ("gateway", "GAMEPIPE_REST_PORT", "eighty", "GAMEPIPE_REST_PORT: Input should be a valid"),
        ("worker", "GAMEPIPE_TEMPORAL_ADDRESS", "here", "GAMEPIPE_TEMPORAL_ADDRESS: must be host:"),
        ("agent", "GAMEPIPE_AGENT_TRANSPORT", "mail", "GAMEPIPE_AGENT_TRANSPORT: Input should be"),
        ("agent", "GAMEPIPE_AGENT_NODE_ID", "n1", "set GAMEPIPE_AGENT_TEMPORAL_ADDRESS to host:"),
        ("gateway", "GAMEPIPE_REST_PORT", "1", "http://127.0.0.1:1/readyz: "),
    ],
)
def test_a_wrong_setting_is_one_line(name: str, variable: str, value: str, remedy: str) -> None:
    done = check(name, **{variable: value})
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("unhealthy: ")
    assert remedy in line


@pytest.mark.parametrize("arguments", [(), ("database",), ("worker", "agent")])
def test_it_says_what_it_can_check(arguments: tuple[str, ...]) -> None:
    done = check(*arguments)
    assert (done.returncode, done.stderr) == (1, "usage: health.py gateway|worker|agent\n")
