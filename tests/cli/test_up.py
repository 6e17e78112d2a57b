"""`gamepipe up`: taken ports, a token, a data directory that is in use."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.cli.terminal import Session, processes_that_know

TOKEN = "let-me-in"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("up")
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


@pytest.fixture(scope="module")
def taken() -> Iterator[None]:
    """The usual port of REST, by us or by somebody else."""
    with closing(socket.socket()) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            holder.bind(("127.0.0.1", 8080))
            holder.listen()
        yield


@pytest.fixture(scope="module")
def running(folder: Path, taken: None) -> Iterator[Session]:
    """With a token, on the usual ports as far as they are free."""
    environment = os.environ | {"GAMEPIPE_TOKEN_FILE": str(folder / "token")}
    arguments = ("up", "--data-dir", str(folder / "data"))
    with Session(*arguments, terminal=True, environment=environment) as up:
        up.wait_for("export GAMEPIPE_URL=")
        yield up


def url_of(up: Session) -> str:
    return up.output.split("export GAMEPIPE_URL=")[1].split()[0]


def test_it_says_that_a_port_is_taken_and_where_it_is_instead(running: Session) -> None:
    port = url_of(running).rpartition(":")[2]
    assert f"port 8080 is taken: rest is on {port}" in running.output


@pytest.mark.parametrize(("given", "status"), [(TOKEN, 0), ("another", 1)])
def test_a_token_file_is_for_gateway_agent_and_commands(
    running: Session, tmp_path: Path, given: str, status: int
) -> None:
    """It has started, so its agent has the token."""
    (tmp_path / "token").write_text(given)
    environment = os.environ | {"GAMEPIPE_URL": url_of(running)}
    arguments = ("nodes", "--token-file", str(tmp_path / "token"))
    with Session(*arguments, terminal=False, environment=environment) as nodes:
        assert nodes.end() == status, nodes.output
    assert ("online" if status == 0 else "UNAUTHENTICATED") in nodes.output


def test_a_second_one_on_the_same_data_directory_is_refused(running: Session, folder: Path) -> None:
    arguments = ("up", "--free-ports", "--data-dir", str(folder / "data"))
    with Session(*arguments, terminal=False, environment=dict(os.environ)) as second:
        assert second.end(seconds=20) == 1
    said = second.output.splitlines()[-1]
    assert "another stack runs on" in said
    assert url_of(running) in said


def test_ctrl_c_ends_it(running: Session, folder: Path) -> None:
    running.interrupt()
    assert running.end(seconds=5) == 0
    assert "Traceback" not in running.output
    assert running.output.endswith("stopping ...\n")
    assert processes_that_know(folder) == []
