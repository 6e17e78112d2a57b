"""`gamepipe nodes drain`: empties a node, and says how far it is."""

import time
from typing import Annotated, Any

import typer

from gamepipe.cli import show
from gamepipe.cli.client import ApiClient, client
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.option import Output, TokenFile, Url, check_id
from gamepipe.cli.show import OutputFormat
from gamepipe.definition.unit import seconds_of

LOOK_SECONDS = 1.0
OVER = ("drained", "called_off")


def drain(
    node_id: Annotated[str, typer.Argument(help="Id of the node.")],
    deadline: Annotated[
        str, typer.Option(help="What still runs then is stopped, such as 30m; absent: never.")
    ] = "",
    ignore_instances: Annotated[
        bool, typer.Option("--ignore-instances", help="Games go on, and do not count.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Until it is drained.")] = True,
    output: Output = OutputFormat.TABLE,
    url: Url = "",
    token_file: TokenFile = None,
) -> None:
    """Take no new pipelines, and wait until what runs has ended. Ctrl-C leaves the drain going."""
    api, path = client(url, token_file), f"/nodes/{check_id('node', node_id)}/drain"
    body = {"deadline_seconds": _seconds(deadline), "ignore_instances": ignore_instances}
    report = api.call("POST", path, body=body)
    try:
        report = _follow(api, path, report, quiet=output is OutputFormat.JSON) if wait else report
    except KeyboardInterrupt:
        raise CommandFailed(
            f"{node_id} goes on draining: `gamepipe nodes drain {node_id}` shows it again, "
            f"`gamepipe node {node_id} --state normal` calls it off",
            ExitStatus.INTERRUPTED,
        ) from None
    if output is OutputFormat.JSON:
        show.print_json(report)
    elif not wait:
        show.say(_said(report))
    if report["state"] == "called_off":
        raise typer.Exit(ExitStatus.FAILED)


def _seconds(deadline: str) -> float | None:
    if not deadline:
        return None
    seconds = seconds_of(deadline)
    if seconds is None:
        raise CommandFailed(
            f"--deadline {deadline!r} is no duration: write 90s, 30m or 1h30m", ExitStatus.USAGE
        )
    return seconds


def _follow(api: ApiClient, path: str, report: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    said = ""
    while True:
        if not quiet and said != (said := _said(report)):
            show.say(said)
        if report["state"] in OVER:
            return report
        time.sleep(LOOK_SECONDS)
        report = api.call("GET", path)


def _said(report: dict[str, Any]) -> str:
    node_id, state = report["node_id"], report["state"]
    if state == "called_off":
        return f"{node_id} is back to normal: its drain was called off"
    if state == "drained":
        return f"{node_id} is drained"
    left = [
        f"{len(report[kind])} {kind if len(report[kind]) != 1 else kind[:-1]}"
        for kind in ("pipelines", "instances")
    ]
    return f"{node_id} is {state}: {' and '.join(left)} left"
