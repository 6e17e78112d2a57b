"""What is wrong on the command line or in the environment: one line that names the remedy."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.stack import GAMEPIPE

ROOT = Path(__file__).parents[2]
FREE = "http://127.0.0.1:9"
"""Nobody answers there."""


def gamepipe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GAMEPIPE, *arguments],
        env=os.environ | {"GAMEPIPE_URL": FREE} | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """The only line that it wrote."""
    assert (done.returncode, done.stdout) == (status, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("gamepipe: ")
    return line


@pytest.mark.parametrize("command", ["up", "agent"])
def test_a_data_directory_that_is_a_file(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = complaint(gamepipe(command, "--data-dir", str(tmp_path / "file")))
    assert "it is no folder; choose another --data-dir" in said


@pytest.mark.parametrize(
    ("command", "name", "value", "remedy"),
    [
        ("up", "GAMEPIPE_AGENT_LABELS", "notjson", 'write {"NAME": "VALUE"}'),
        ("agent", "GAMEPIPE_AGENT_LABELS", "notjson", 'write {"NAME": "VALUE"}'),
        ("agent", "GAMEPIPE_AGENT_LOCATION", "[]", 'write {"NAME": "VALUE"}'),
        ("agent", "GAMEPIPE_AGENT_LOG_LEVEL", "LOUD", "use DEBUG, INFO, WARNING or ERROR"),
        ("agent", "GAMEPIPE_AGENT_PROBES", "eu=host", "such as eu-north=probe.example:443"),
        ("agent", "GAMEPIPE_AGENT_PROBES", "eu=host:70000", "no REGION=HOST:PORT"),
        ("agent", "GAMEPIPE_AGENT_MAX_STEPS", "0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_of_the_agent(command: str, name: str, value: str, remedy: str) -> None:
    said = complaint(gamepipe(command, **{name: value}))
    assert name in said
    assert remedy in said


def test_a_wrong_flag_of_the_agent_is_named_as_it_was_given() -> None:
    assert "gamepipe: --transport: " in complaint(gamepipe("agent", "--transport", "pigeon"))


def test_wrong_settings_of_the_gateway_are_told_at_once() -> None:
    said = complaint(gamepipe("up", GAMEPIPE_LOG_LEVEL="LOUD", GAMEPIPE_NODE_TTL="0"))
    assert "GAMEPIPE_LOG_LEVEL: 'LOUD' is no log level: use DEBUG, INFO" in said
    assert "GAMEPIPE_NODE_TTL: Input should be greater than 0" in said


def test_facts_that_are_not_there() -> None:
    said = complaint(gamepipe("up", "--facts", "/none/such.yaml"))
    assert "/none/such.yaml" in said
    assert "name a readable file with --facts" in said


@pytest.mark.parametrize("arguments", [("up",), ("nodes",)])
def test_a_token_file_that_is_not_there(arguments: tuple[str, ...]) -> None:
    said = complaint(gamepipe(*arguments, GAMEPIPE_TOKEN_FILE="/none/token"))
    assert "cannot read the token file /none/token" in said


@pytest.mark.parametrize("text", ["", "a/b", "a?b", "-a"])
def test_an_id_that_is_none_is_told(text: str) -> None:
    said = complaint(gamepipe("get", "--", text))
    assert f"{text!r} is no pipeline id: use letters, digits" in said


@pytest.mark.parametrize(
    "command", ["get", "watch", "logs", "cancel", "delete", "stop", "node --state normal"]
)
def test_an_id_that_would_lead_elsewhere_is_not_sent(command: str) -> None:
    assert "'../nodes' is no " in complaint(gamepipe(*command.split(), "../nodes"))


def test_a_gateway_that_does_not_answer() -> None:
    said = complaint(gamepipe("list"), status=1)
    assert f"no gateway answers at {FREE}" in said
    assert "start one with `gamepipe up`, or name it with --url or GAMEPIPE_URL" in said


def test_a_file_without_an_end_is_too_large() -> None:
    done = gamepipe("validate", "/dev/zero")
    assert done.returncode == 2
    assert "/dev/zero:1:1: file: the file is larger than 1 MiB; shorten it" in done.stderr


@pytest.mark.parametrize("command", ["validate", "submit", "demo"])
def test_a_file_that_cannot_be_read(command: str, tmp_path: Path) -> None:
    assert "No such file" in complaint(gamepipe(command, str(tmp_path / "none.yaml")))
    assert "Is a directory" in complaint(gamepipe(command, str(tmp_path)))


def test_a_pair_without_a_value() -> None:
    file = str(ROOT / "examples" / "quickstart.yaml")
    assert "--arg 'PLAYER' is no NAME=VALUE" in complaint(
        gamepipe("submit", file, "--arg", "PLAYER")
    )


@pytest.mark.parametrize("arguments", [("conquer",), ("list", "--stat", "x"), ("get",)])
def test_commands_options_and_arguments_that_are_wrong_end_with_2(
    arguments: tuple[str, ...],
) -> None:
    done = gamepipe(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"gamepipe {'' if arguments[0] == 'conquer' else arguments[0]}".strip() in done.stderr


def test_the_version_is_that_of_the_package() -> None:
    done = gamepipe("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("gamepipe 0.")


def test_make_help_explains_every_target_that_people_need() -> None:
    done = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    for target in ("help", "env", "demo", "up", "test", "lint", "bench", "clean"):
        assert f"\n  make {target} " in f"\n{done.stdout}"
