"""Each part of the service installs alone: an agent without the server, a client without it."""

import json
from pathlib import Path

import pytest

from tests.e2e.fleet import Fleet
from tests.e2e.stack import RunningStack
from tests.packaging.installation import Installation

SERVER = ("sqlmodel", "sqlalchemy", "alembic", "psycopg", "fastapi", "starlette", "uvicorn")
EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
STEP = """
name: packaged
placement: {node: packaged}
steps: [{name: say, type: command, command: "echo said on $GAMEPIPE_NODE_ID"}]
"""


def test_an_agent_installs_without_server_and_client(agent_alone: Installation) -> None:
    assert agent_alone.importable(*SERVER, "httpx", "temporalio", "grpc") == {"temporalio", "grpc"}
    everything, agent = agent_alone.run("--help"), agent_alone.run("agent", "--help")
    assert (everything.returncode, agent.returncode) == (0, 0)
    assert "Run the agent of a game node" in everything.stdout
    assert "--transport" in agent.stdout


def test_pipeline_files_are_checked_without_any_extra(agent_alone: Installation) -> None:
    done = agent_alone.run("validate", str(EXAMPLE))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "is right: 'Quickstart'" in done.stdout


def test_an_agent_that_is_installed_alone_runs_a_step(
    agent_alone: Installation, fleet: Fleet
) -> None:
    fleet.add("packaged", "--transport", "temporal", program=[agent_alone.command]).start()
    pipeline_id = fleet.stack.submit(STEP)
    record = fleet.stack.finish(pipeline_id)
    assert (record["state"], record["node_id"]) == ("completed", "packaged"), record
    assert fleet.stack.lines(pipeline_id) == ["said on packaged"]


def test_a_client_that_is_installed_alone_lists_pipelines(
    client_alone: Installation, shared_stack: RunningStack
) -> None:
    assert client_alone.importable(*SERVER, "httpx") == {"httpx"}
    pipeline_id = shared_stack.submit("{name: listed, steps: [{type: command, command: 'true'}]}")
    done = client_alone.run("list", "-o", "json", GAMEPIPE_URL=shared_stack.info["url"])
    assert done.returncode == 0, done.stderr
    assert pipeline_id in [one["id"] for one in json.loads(done.stdout)["items"]]
    shared_stack.finish(pipeline_id)


@pytest.mark.parametrize(
    ("where", "command", "arguments", "extra"),
    [
        ("agent_alone", "list", "-o json", "client"),
        ("agent_alone", "up", "--allow-commands", "embedded"),
        ("client_alone", "up", "--free-ports", "embedded"),
        ("client_alone", "demo", "quickstart.yaml", "embedded"),
    ],
)
def test_a_command_that_cannot_run_names_the_extra_that_it_lacks(
    request: pytest.FixtureRequest, where: str, command: str, arguments: str, extra: str
) -> None:
    installed, remedy = request.getfixturevalue(where), f"pip install 'gamepipe[{extra}]'"
    done = installed.run(command, *arguments.split())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"gamepipe: this installation has no `{command}`: {remedy}\n"
    assert remedy in installed.run(command, "--help").stdout
