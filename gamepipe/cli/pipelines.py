"""Commands about pipelines."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from gamepipe.cli import show
from gamepipe.cli.client import ApiClient, client
from gamepipe.cli.failure import ExitStatus
from gamepipe.cli.option import (
    Arg,
    Env,
    Output,
    PipelineId,
    Secret,
    TokenFile,
    Url,
    check_id,
    parse_pairs,
    read_file,
)
from gamepipe.cli.show import OutputFormat
from gamepipe.cli.submission import submission
from gamepipe.cli.watch import watch_pipeline


def submit(
    file: Annotated[Path, typer.Argument(help="Pipeline file; - is standard input.")],
    arg: Arg = [],  # noqa: B006
    env: Env = [],  # noqa: B006
    secret: Secret = [],  # noqa: B006
    pipeline_id: Annotated[
        str, typer.Option("--id", help="Id; made from the name if absent.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Create and start a pipeline. With --watch: exit status 0 when it completed, else 1."""
    body = submission(
        read_file(file),
        file=str(file),
        pipeline_id=pipeline_id,
        args=parse_pairs(arg, "--arg"),
        envs=parse_pairs(env, "--env"),
        secret_values=parse_pairs(secret, "--secret"),
    )
    api = client(url, token_file)
    record = api.call("POST", "/pipelines", body=body)
    if watch:
        _follow(api, record["id"], output)
    elif output is OutputFormat.JSON:
        show.print_json(record)
    else:
        show.say(f"{record['id']} is {record['state']}; follow it with:")
        show.say(f"  gamepipe watch {record['id']}")


def watch(
    pipeline_id: PipelineId,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Follow a pipeline to its end: exit status 0 when it completed, else 1."""
    _follow(client(url, token_file), check_id("pipeline", pipeline_id), output)


def _follow(api: ApiClient, pipeline_id: str, output: OutputFormat) -> None:
    record = watch_pipeline(api.target, pipeline_id, quiet=output is OutputFormat.JSON)
    if output is OutputFormat.JSON:
        show.print_json(record)
    if record["state"] != "completed":
        raise typer.Exit(ExitStatus.FAILED)


def pipeline_path(pipeline_id: str) -> str:
    return f"/pipelines/{check_id('pipeline', pipeline_id)}"


def list_pipelines(
    state: Annotated[list[str], typer.Option(help="Only in this state, repeated.")] = [],  # noqa: B006
    label: Annotated[list[str], typer.Option(help="KEY=VALUE, repeated.")] = [],  # noqa: B006
    node: Annotated[str, typer.Option(help="Only on this node.")] = "",
    page: Annotated[int, typer.Option(min=1)] = 1,
    size: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """List pipelines, newest first."""
    query = {"state": state, "label": label, "node_id": node, "page": page, "size": size}
    found = client(url, token_file).call("GET", "/pipelines", query=query)
    if output is OutputFormat.JSON:
        show.print_json(found)
        return
    rows = (
        (
            one["id"],
            show.state(one["state"]),
            _progress(one["progress"]),
            one["node_id"] or "-",
            show.elapsed(one["started_at"], one["ended_at"]),
            show.ago(one["created_at"]),
            show.outcome(one),
        )
        for one in found["items"]
    )
    titles = ("ID", "STATE", "STEPS", "NODE", "TOOK", "CREATED", "WHY")
    show.print_table(titles, rows, "no pipelines")
    if found["total"] > len(found["items"]):
        show.say(f"{len(found['items'])} of {found['total']}; more with --page {page + 1}")


def _progress(progress: dict[str, Any]) -> str:
    return f"{progress['ended']}/{progress['total']} {progress['percent']:.0f}%"


def get(
    pipeline_id: PipelineId,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Show a pipeline and its steps, those of earlier generations too."""
    api = client(url, token_file)
    path = pipeline_path(pipeline_id)
    record = api.call("GET", path)
    earlier = []
    if record["generation"] > 1:
        placed = api.call("GET", f"{path}/placement")["generations"]
        earlier = [one for one in placed if one["number"] < record["generation"]]
    if output is OutputFormat.JSON:
        show.print_json(record | {"earlier_generations": earlier})
        return
    print_pipeline(record)
    for generation in reversed(earlier):
        show.say(f"\nearlier   {_place(generation['node_id'], generation['number'])}")
        _print_steps(generation["steps"])


def print_pipeline(record: dict[str, Any]) -> None:
    """Facts, then a table of steps."""
    facts = {
        "pipeline": record["id"],
        "name": record["name"],
        "state": show.state(record["state"]),
        "why": show.outcome(record),
        "node": _place(record["node_id"], record["generation"]) if record["node_id"] else "",
        "took": show.elapsed(record["started_at"], record["ended_at"]),
        "workflow": record["workflow_url"],
    }
    for name, fact in facts.items():
        if fact:
            text = fact if isinstance(fact, Text) else show.plain(fact)
            show.console.print(Text.assemble(f"{name:<9} ", text))
    show.console.print()
    _print_steps(record["steps"])


def _place(node_id: str, generation: int) -> str:
    return f"{node_id} (generation {generation})"


def _print_steps(steps: list[dict[str, Any]]) -> None:
    rows = (
        (
            step["name"],
            show.state(step["state"]),
            str(step["attempt"] or "-"),
            show.elapsed(step["started_at"], step["ended_at"]),
            show.outcome(step),
        )
        for step in steps
    )
    show.print_table(("STEP", "STATE", "ATTEMPT", "TOOK", "WHY"), rows, "no steps")


def cancel(
    pipeline_id: PipelineId,
    reason: Annotated[str, typer.Option(help="Why; it is kept with the pipeline.")] = "",
    grace: Annotated[
        float | None, typer.Option(min=0, help="Seconds between TERM and KILL.")
    ] = None,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Ask for a pipeline's end; it comes within the grace."""
    body = {"reason": reason, "grace_seconds": grace}
    path = f"{pipeline_path(pipeline_id)}/cancel"
    record = client(url, token_file).call("POST", path, body=body)
    if output is OutputFormat.JSON:
        show.print_json(record)
    else:
        show.say(f"{pipeline_id} is being canceled")


def delete(
    pipeline_id: PipelineId,
    force: Annotated[bool, typer.Option("--force", help="Cancel it first if it is live.")] = False,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Remove a pipeline with its logs."""
    path = pipeline_path(pipeline_id)
    client(url, token_file).call("DELETE", path, query={"force": force})
    if output is OutputFormat.JSON:
        show.print_json({"id": pipeline_id, "deleted": True})
    else:
        show.say(f"{pipeline_id} is deleted")
