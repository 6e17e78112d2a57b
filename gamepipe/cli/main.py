"""The `gamepipe` command. An installation offers the commands whose extras it has."""

import importlib
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.show import plain
from gamepipe.leaving import leave
from gamepipe.uncollected import uncollected

app = typer.Typer(
    name="gamepipe",
    help="Durable pipelines on a fleet of game nodes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}

COMMANDS = {
    "up": ("gamepipe.cli.stack", "up"),
    "demo": ("gamepipe.cli.demo", "demo"),
    "submit": ("gamepipe.cli.pipelines", "submit"),
    "list": ("gamepipe.cli.pipelines", "list_pipelines"),
    "get": ("gamepipe.cli.pipelines", "get"),
    "watch": ("gamepipe.cli.pipelines", "watch"),
    "why": ("gamepipe.cli.placement", "why"),
    "plan": ("gamepipe.cli.placement", "plan"),
    "logs": ("gamepipe.cli.logs", "logs"),
    "cancel": ("gamepipe.cli.pipelines", "cancel"),
    "delete": ("gamepipe.cli.pipelines", "delete"),
    "nodes": ("gamepipe.cli.fleet", "nodes_app"),
    "node": ("gamepipe.cli.fleet", "node"),
    "instances": ("gamepipe.cli.fleet", "instances"),
    "stop": ("gamepipe.cli.fleet", "stop"),
    "validate": ("gamepipe.cli.definition", "validate"),
    "schema": ("gamepipe.cli.definition", "schema"),
    "simulate": ("gamepipe.cli.simulate", "simulate"),
    "agent": ("gamepipe.cli.agent", "agent"),
}
EXTRAS = {
    "gamepipe.cli.stack": "embedded",
    "gamepipe.cli.demo": "embedded",
    "gamepipe.cli.pipelines": "client",
    "gamepipe.cli.placement": "client",
    "gamepipe.cli.logs": "client",
    "gamepipe.cli.fleet": "client",
    "gamepipe.cli.simulate": "simulate",
}
"""Of the modules of commands; the others need none."""

SIGNS = {
    "client": ["httpx"],
    "embedded": ["httpx", "fastapi", "sqlmodel"],
    "simulate": ["numpy"],
}
"""Modules that are there when an extra is."""


VERSION = "--version"


def _register(wanted: str | None) -> None:
    """Only the command that is asked for is imported, so that each starts fast."""
    for name in [wanted] if wanted in COMMANDS else COMMANDS if wanted != VERSION else ():
        module, function = COMMANDS[name]
        extra = EXTRAS.get(module)
        if extra is None or all(find_spec(sign) for sign in SIGNS[extra]):
            with uncollected():
                imported = importlib.import_module(module)
            _add(name, getattr(imported, function))
        else:
            app.command(name, context_settings=_ANY_ARGUMENTS)(_absent(name, extra))


def _add(name: str, command: typer.Typer | Callable[..., None]) -> None:
    """One with commands of its own is an application."""
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _absent(name: str, extra: str) -> Callable[[], None]:
    remedy = f"pip install 'gamepipe[{extra}]'"

    def command() -> None:
        raise CommandFailed(f"this installation has no `{name}`: {remedy}")

    command.__doc__ = escape(f"Not installed here: {remedy}")
    return command


def main() -> NoReturn:
    """Entry of `gamepipe`: exit status 0, 1 (failed), 2 (usage) or 130 (Ctrl-C)."""
    leave(_main)


def _main() -> None:
    wanted = sys.argv[1] if len(sys.argv) > 1 else None
    _register(wanted)
    try:
        # With a single command registered, typer would drop its name: the callback keeps it.
        app.callback()(_general)
        app(prog_name="gamepipe")
    except CommandFailed as error:
        sys.stderr.write(plain(str(error)))
        sys.exit(error.status)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(ExitStatus.INTERRUPTED)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gamepipe {version('gamepipe')}")
        raise typer.Exit


def _general(
    show_version: Annotated[
        bool,
        typer.Option(VERSION, callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Durable pipelines on a fleet of game nodes."""
