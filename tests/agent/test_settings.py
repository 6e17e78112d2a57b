"""The agent's settings, and what an agent's installation needs."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from gamepipe.agent.settings import AgentSettings


def test_the_environment_is_read(monkeypatch, tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("secret\n")
    for name, value in {
        "NODE_ID": "node-241",
        "GATEWAYS": "a:1, b:2",
        "ALLOW_COMMANDS": "true",
        "LABELS": '{"rack": "7"}',
        "LOCATION": '{"region": "eu", "latitude": 52.5}',
        "TOKEN_FILE": str(token),
        "MAX_STEPS": "4",
    }.items():
        monkeypatch.setenv(f"GAMEPIPE_AGENT_{name}", value)
    settings = AgentSettings()
    assert settings.node_id == "node-241"
    assert settings.gateways == ("a:1", "b:2")
    assert settings.allow_commands
    assert settings.labels == {"rack": "7"}
    assert settings.location.region == "eu"
    assert settings.max_steps == 4
    found = settings.token()
    assert found is not None
    assert found.get_secret_value() == "secret"
    assert "secret" not in repr(settings)


def test_commands_are_off_by_default():
    assert not AgentSettings().allow_commands


@pytest.mark.parametrize("node_id", ["", "-a", "a/b", "ä", "x" * 64])
def test_a_bad_node_id_is_refused(node_id: str):
    with pytest.raises(ValidationError, match="is no node id"):
        AgentSettings(node_id=node_id)


def test_the_agent_needs_nothing_of_the_server():
    program = (
        "import sys, gamepipe.agent.main, activities.node; "
        "print([m for m in ('sqlmodel', 'sqlalchemy', 'fastapi', 'store', 'gateway', 'workflows', "
        "'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
