"""Commands about nodes and instances."""

from typing import Annotated, Any

import typer
from rich.text import Text

from gamepipe.cli import show
from gamepipe.cli.client import client
from gamepipe.cli.drain import drain
from gamepipe.cli.option import Output, TokenFile, Url, check_id
from gamepipe.cli.show import OutputFormat
from gamepipe.model.state import NodeState

_UNSEEN = ("STOP_UNCONFIRMED", "INSTANCES_UNACCOUNTED")
"""Why a node takes nothing new, though its states look well."""

nodes_app = typer.Typer()
nodes_app.command("drain")(drain)


@nodes_app.callback(invoke_without_command=True)
def nodes(
    context: typer.Context,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """List the game nodes, or drain one of them."""
    if context.invoked_subcommand is not None:
        return
    found = client(url, token_file).call("GET", "/nodes")
    if output is OutputFormat.JSON:
        show.print_json(found)
        return
    titles = ("ID", "STATE", "SEEN", "CPU", "MEMORY", "GPUS", "RUNS", "STEPS", "LAST HEARD")
    empty = "no nodes; start an agent with `gamepipe agent`"
    show.print_table(titles, (_node_row(node) for node in found), empty)
    for closed in filter(None, (node.get("closed") for node in found)):
        if closed["code"] in _UNSEEN:
            show.warn(f"node {closed['node_id']} takes nothing new: it {closed['message']}")


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
    state: Annotated[NodeState, typer.Option(help="What it is to be.")],
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Set a node's state: in maintenance it takes nothing new, disabled it stops what runs."""
    path, body = f"/nodes/{check_id('node', node_id)}", {"state": state.value}
    found = client(url, token_file).call("PATCH", path, body=body)
    if output is OutputFormat.JSON:
        show.print_json(found)
    else:
        show.console.print(Text.assemble(f"{node_id} is ", show.state(found["state"])))


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
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Stop a running instance."""
    path, body = f"/instances/{check_id('instance', instance_id)}/stop", {"grace_seconds": grace}
    found = client(url, token_file).call("POST", path, body=body)
    if output is OutputFormat.JSON:
        show.print_json(found)
    else:
        show.say(f"{instance_id} is being stopped")
