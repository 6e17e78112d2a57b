"""Commands about nodes and instances."""

from typing import Annotated, Any

import typer

from gamepipe.cli import show
from gamepipe.cli.client import client
from gamepipe.cli.option import Output, TokenFile, Url
from gamepipe.cli.show import OutputFormat


def nodes(output: Output = OutputFormat.TABLE, url: Url = "", token_file: TokenFile = None) -> None:
    """List the game nodes."""
    found = client(url, token_file).call("GET", "/nodes")
    if output is OutputFormat.JSON:
        show.print_json(found)
        return
    titles = ("ID", "STATE", "SEEN", "CPU", "MEMORY", "GPUS", "RUNS", "STEPS", "LAST HEARD")
    empty = "no nodes; start an agent with `gamepipe agent`"
    show.print_table(titles, (_node_row(node) for node in found), empty)


def _node_row(node: dict[str, Any]) -> tuple[Any, ...]:
    facts = node["facts"]
    return (
        node["id"],
        show.state(node["state"]),
        show.state(node["connectivity"]),
        f"{facts['cpu']:g}",
        show.size(facts["memory_bytes"]),
        ", ".join(gpu["model"] for gpu in facts["gpus"]) or "-",
        ", ".join(facts["features"]) or "-",
        str(node["metrics"]["running_steps"]),
        show.ago(node["last_seen_at"]),
    )


def node(
    node_id: Annotated[str, typer.Argument(help="Id of the node.")],
    state: Annotated[str, typer.Option(help="normal, maintenance or disabled.")],
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Set a node's state: in maintenance it takes nothing new, disabled it stops what runs."""
    found = client(url, token_file).call("PATCH", f"/nodes/{node_id}", body={"state": state})
    show.console.print(f"{node_id} is", show.state(found["state"]))


def instances(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also those that ended.")] = False,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """List the instances: services that outlive their pipeline, the running games."""
    found = client(url, token_file).call("GET", "/instances", query={"live": not everything})
    if output is OutputFormat.JSON:
        show.print_json(found)
        return
    rows = (
        (
            one["id"],
            show.state(one["state"]),
            one["node_id"],
            one["image"],
            ", ".join(f"{host}->{inside}" for inside, host in one["ports"].items()) or "-",
            show.elapsed(one["started_at"], one["ended_at"]),
            show.outcome(one),
        )
        for one in found
    )
    titles = ("ID", "STATE", "NODE", "IMAGE", "PORTS", "UP", "WHY")
    show.print_table(titles, rows, "no instances")


def stop(
    instance_id: Annotated[str, typer.Argument(help="Id of the instance.")],
    grace: Annotated[
        float | None, typer.Option(min=0, help="Seconds between TERM and KILL.")
    ] = None,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Stop a running instance."""
    body = {"grace_seconds": grace}
    client(url, token_file).call("POST", f"/instances/{instance_id}/stop", body=body)
    show.console.print(f"{instance_id} is being stopped")
