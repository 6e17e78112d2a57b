"""Where an agent keeps its data when nobody says."""

import os
from pathlib import Path

import pytest

from gamepipe.agent.settings import AgentSettings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAMEPIPE_AGENT_DATA_DIR", raising=False)


def test_it_is_the_same_wherever_it_is_started_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = AgentSettings().data_dir
    monkeypatch.chdir(tmp_path)
    assert AgentSettings().data_dir == here
    assert here.is_absolute()


@pytest.mark.parametrize(
    ("user", "folder"), [(0, "/var/lib/gamepipe/agent"), (1000, "/home/ada/data/gamepipe-agent")]
)
def test_root_keeps_it_for_the_system_others_for_themselves(
    monkeypatch: pytest.MonkeyPatch, user: int, folder: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/ada/data")
    assert AgentSettings().data_dir == Path(folder)
