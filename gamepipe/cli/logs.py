"""`gamepipe logs`: lines of a pipeline's steps."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gamepipe.cli.client import client
from gamepipe.cli.option import Output, PipelineId, TokenFile, Url, check_id
from gamepipe.cli.prefix import StepPrefix
from gamepipe.cli.show import OutputFormat


def logs(
    pipeline_id: PipelineId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until its last line.")] = False,
    step: Annotated[str, typer.Option(help="Name or index of a step.")] = "",
    attempt: Annotated[int | None, typer.Option(min=1)] = None,
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last N lines.")] = None,
    since: Annotated[str, typer.Option(help="Time with zone: 2026-01-31T12:00:00Z.")] = "",
    search: Annotated[str, typer.Option(help="Only lines that contain this.")] = "",
    no_prefix: Annotated[
        bool, typer.Option("--no-prefix", help="No step's name before its lines.")
    ] = False,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Print a pipeline's log lines; with -o json one object a line.

    Where it has several steps and none was asked for, each line stands behind its step's name.
    """
    given = {"step": step, "attempt": attempt, "tail": tail, "since": since, "search": search}
    query = {name: value for name, value in given.items() if value not in (None, "")}
    api, path = client(url, token_file), f"/pipelines/{check_id('pipeline', pipeline_id)}"
    is_json = output is OutputFormat.JSON
    steps = [] if is_json or step or no_prefix else api.call("GET", path)["steps"]
    printer = _Printer(steps if len(steps) > 1 else [])
    with api.stream(
        f"{path}/logs", query=query | {"follow": follow}, accept="application/x-ndjson"
    ) as lines:
        for line in lines:
            if is_json:
                typer.echo(line)
            else:
                printer.print(json.loads(line))


class _Printer:
    """Without steps, lines come as they were written."""

    def __init__(self, steps: Sequence[dict[str, Any]]) -> None:
        self._prefix = StepPrefix(steps) if steps else None
        self._open: tuple[int, int, int] | None = None
        """The attempt whose line, longer than a record, is not complete yet."""

    def print(self, line: dict[str, Any]) -> None:
        attempt = (line["generation"], line["step_index"], line["attempt"])
        if self._open not in (None, attempt):
            typer.echo()
        if self._prefix is not None and self._open != attempt:
            typer.secho(self._prefix.of(line["step_index"]), nl=False, dim=True)
        typer.echo(line["text"], nl=not line["continued"])
        self._open = attempt if line["continued"] else None
