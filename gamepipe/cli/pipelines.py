"""Commands about pipelines."""

import json
import secrets
from pathlib import Path
from typing import Annotated, Any

import typer

from gamepipe.cli import show
from gamepipe.cli.client import client
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.option import Output, TokenFile, Url, parse_pairs, read_file
from gamepipe.cli.show import OutputFormat
from gamepipe.cli.watch import watch_pipeline

PipelineId = Annotated[str, typer.Argument(help="Id of the pipeline.")]
ID_STEM = 40


def submit(
    file: Annotated[Path, typer.Argument(help="Pipeline file; - is standard input.")],
    arg: Annotated[list[str], typer.Option(help="NAME=VALUE, repeated.")] = [],  # noqa: B006
    env: Annotated[list[str], typer.Option(help="NAME=VALUE; the value is kept secret.")] = [],  # noqa: B006
    secret: Annotated[list[str], typer.Option(help="NAME=VALUE; kept secret.")] = [],  # noqa: B006
    pipeline_id: Annotated[
        str, typer.Option("--id", help="Id; made from the name if absent.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Create and start a pipeline. With --watch: exit status 0 when it completed, else 1."""
    api = client(url, token_file)
    record = create(
        api_call=api.call,
        text=read_file(file),
        file=str(file),
        pipeline_id=pipeline_id,
        args=parse_pairs(arg, "--arg"),
        envs=parse_pairs(env, "--env"),
        secret_values=parse_pairs(secret, "--secret"),
    )
    if watch:
        record = watch_pipeline(api.target, record["id"], quiet=output is OutputFormat.JSON)
    if output is OutputFormat.JSON:
        show.print_json(record)
    elif not watch:
        show.console.print(f"{record['id']} is {record['state']}; follow it with:")
        show.console.print(f"  gamepipe logs -f {record['id']}")
    if watch and record["state"] != "completed":
        raise typer.Exit(ExitStatus.FAILED)


def create(
    *,
    api_call: Any,
    text: str,
    file: str,
    pipeline_id: str = "",
    args: dict[str, str] | None = None,
    envs: dict[str, str] | None = None,
    secret_values: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Parse here, so that mistakes name the file; then send it under an id made here, so that
    sending it again is safe."""
    from gamepipe.definition import parse_pipeline  # noqa: PLC0415 - slow, and rarely needed
    from gamepipe.model.errors import InvalidPipeline  # noqa: PLC0415

    try:
        spec = parse_pipeline(text, file=file)
    except InvalidPipeline as error:
        raise CommandFailed(error.message, ExitStatus.USAGE) from error
    stem = "".join(c if c.isascii() and c.isalnum() else "-" for c in spec.name.lower())
    stem = "-".join(part for part in stem[:ID_STEM].split("-") if part) or "pipeline"
    body = {
        "definition": text,
        "file": file,
        "id": pipeline_id or spec.id or f"{stem}-{secrets.token_hex(5)}",
        "args": args or {},
        "envs": envs or {},
        "secrets": secret_values or {},
    }
    record: dict[str, Any] = api_call("POST", "/pipelines", body=body)
    return record


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
        show.console.print(
            f"{len(found['items'])} of {found['total']}; more with --page {page + 1}"
        )


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
    record = api.call("GET", f"/pipelines/{pipeline_id}")
    earlier = []
    if record["generation"] > 1:
        placed = api.call("GET", f"/pipelines/{pipeline_id}/placement")["generations"]
        earlier = [one for one in placed if one["number"] < record["generation"]]
    if output is OutputFormat.JSON:
        show.print_json(record | {"earlier_generations": earlier})
        return
    print_pipeline(record)
    for generation in reversed(earlier):
        show.console.print(f"\nearlier   {_place(generation['node_id'], generation['number'])}")
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
            show.console.print(f"{name:<9}", fact)
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


def logs(
    pipeline_id: PipelineId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until its last line.")] = False,
    step: Annotated[str, typer.Option(help="Name or index of a step.")] = "",
    attempt: Annotated[int | None, typer.Option(min=1)] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last N lines.")] = None,
    since: Annotated[str, typer.Option(help="Time with zone: 2026-01-31T12:00:00Z.")] = "",
    search: Annotated[str, typer.Option(help="Only lines that contain this.")] = "",
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Print a pipeline's log lines; with -o json one object a line."""
    given = {"step": step, "attempt": attempt, "tail": tail, "since": since, "search": search}
    query = {name: value for name, value in given.items() if value not in (None, "")}
    accept = "application/x-ndjson"
    path = f"/pipelines/{pipeline_id}/logs"
    with client(url, token_file).stream(
        path, query=query | {"follow": follow}, accept=accept
    ) as lines:
        for line in lines:
            _print_line(line, output)


def _print_line(line: str, output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        typer.echo(line)
        return
    record = json.loads(line)
    typer.echo(record["text"], nl=not record["continued"])


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
    record = client(url, token_file).call("POST", f"/pipelines/{pipeline_id}/cancel", body=body)
    if output is OutputFormat.JSON:
        show.print_json(record)
    else:
        show.console.print(f"{pipeline_id} is being canceled")


def delete(
    pipeline_id: PipelineId,
    force: Annotated[bool, typer.Option("--force", help="Cancel it first if it is live.")] = False,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Remove a pipeline with its logs."""
    client(url, token_file).call("DELETE", f"/pipelines/{pipeline_id}", query={"force": force})
    show.console.print(f"{pipeline_id} is deleted")
