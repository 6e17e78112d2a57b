"""`gamepipe agent`: the node side."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from gamepipe.agent.main import run_agent
from gamepipe.agent.settings import AgentSettings
from gamepipe.cli.option import make_folder, parse_pairs
from gamepipe.cli.setting import checked
from gamepipe.logs import configure_logging
from gamepipe.model.node import Location

FLAGS = {
    "node_id": "--node-id",
    "transport": "--transport",
    "gateways": "--gateway",
    "max_steps": "--max-steps",
    "docker_url": "--docker-url",
    "probes": "--probe",
}
"""Of settings whose value may be wrong."""


def agent(
    node_id: Annotated[str, typer.Option(help="Id of this node; its host name if absent.")] = "",
    gateway: Annotated[
        list[str], typer.Option(help="host:port of a gateway's gRPC, repeated.")
    ] = [],  # noqa: B006
    transport: Annotated[
        str, typer.Option(help="How steps come: temporal, or grpc (only the gateway is reached).")
    ] = "",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Workspaces and spooled logs; /var/lib/gamepipe/agent as root, else "
            "~/.local/share/gamepipe-agent."
        ),
    ] = None,
    allow_commands: Annotated[
        bool,
        typer.Option(
            "--allow-commands", help="Run `command` steps: any script of anyone who may submit."
        ),
    ] = False,
    facts: Annotated[Path | None, typer.Option(help="File whose facts override detected.")] = None,
    label: Annotated[list[str], typer.Option(help="KEY=VALUE, repeated.")] = [],  # noqa: B006
    region: Annotated[str, typer.Option(help="Region of this node, for placement.")] = "",
    zone: Annotated[str, typer.Option(help="Zone within the region.")] = "",
    probe: Annotated[
        list[str],
        typer.Option(help="REGION=HOST:PORT to measure round trips to, for placement; repeated."),
    ] = [],  # noqa: B006
    docker_url: Annotated[str | None, typer.Option(help="Docker engine; empty: none.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Bearer token for the gateway.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Steps at the same time.")] = None,
) -> None:
    """Run the agent of a game node: it takes steps, runs them and reports."""
    given: dict[str, Any] = {
        "node_id": node_id,
        "transport": transport,
        "gateways": tuple(gateway),
        "data_dir": data_dir,
        "allow_commands": allow_commands or None,
        "facts": facts,
        "labels": parse_pairs(label, "--label"),
        "probes": tuple(probe),
        "token_file": token_file,
        "max_steps": max_steps,
    }
    chosen = {name: value for name, value in given.items() if value}
    if docker_url is not None:
        chosen["docker_url"] = docker_url
    if region or zone:
        chosen["location"] = Location(region=region, zone=zone)
    settings = checked(AgentSettings, chosen, flags=FLAGS)
    make_folder(settings.data_dir)
    configure_logging(settings.log_level)
    raise typer.Exit(asyncio.run(run_agent(settings)))
