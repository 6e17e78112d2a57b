"""`gamepipe up`: the embedded stack, in the foreground."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gamepipe.agent.facts import BadFacts, override_facts
from gamepipe.agent.settings import AgentSettings
from gamepipe.cli import show
from gamepipe.cli.client import read_token
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.interruption import Interruption
from gamepipe.cli.option import TokenFile, make_folder
from gamepipe.cli.setting import checked
from gamepipe.config import Settings
from gamepipe.embedded.info import default_data_dir
from gamepipe.embedded.stack import Stack, StackOptions
from gamepipe.logs import configure_logging
from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import NodeFacts


def up(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept; ~/.local/share/gamepipe.")
    ] = None,
    allow_commands: Annotated[
        bool, typer.Option("--allow-commands", help="Let the local node run `command` steps.")
    ] = False,
    facts: Annotated[Path | None, typer.Option(help="Facts that override the node's own.")] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Take free ports, not the usual ones.")
    ] = False,
    token_file: TokenFile = None,
) -> None:
    """Run the whole service here, in the foreground: Temporal, gateway, worker, one agent."""
    configure_logging("WARNING")
    options = StackOptions(
        data_dir=data_dir or default_data_dir(),
        allow_commands=allow_commands,
        facts=facts,
        free_ports=free_ports,
        token_file=token_file,
    )
    check_options(options)
    asyncio.run(_up(options))


def check_options(options: StackOptions) -> None:
    """Say what no process of the stack would start with, before any is started.

    Raises `CommandFailed`.
    """
    checked(Settings)
    checked(AgentSettings)
    if options.token_file is not None:
        read_token(options.token_file)
    if options.facts is not None:
        try:
            override_facts(NodeFacts(cpu=1, memory_bytes=1, disk_bytes=1), options.facts)
        except BadFacts as error:
            raise CommandFailed(error.message, ExitStatus.USAGE) from error
    make_folder(options.data_dir)


async def _up(options: StackOptions) -> None:
    interruption = Interruption()
    stack = Stack(options)
    await interruption.end(start(stack))
    if interruption.status:
        return
    say_where(stack, options)
    await interruption.end(stack.watch())
    show.say("stopping ...")
    await stack.stop()


async def start(stack: Stack) -> None:
    """Raises `CommandFailed` with the last words of what did not come up."""
    show.say("starting Temporal, gateway, worker and one agent ...")
    try:
        await stack.start()
    except GamePipeError as error:
        raise CommandFailed(error.message) from error


def say_where(stack: Stack, options: StackOptions) -> None:
    """Print every address, and what moved."""
    info = stack.info
    for port in stack.moved_ports:
        show.say(f"port {port.wanted} is taken: {port.name} is on {port.number}")
    show.say(f"""The game pipeline service runs; Ctrl-C stops it.
  REST     {info.url}/docs
  gRPC     {info.grpc_address}
  Temporal {info.temporal_address}, its Web UI at {info.temporal_ui_url}
  data     {options.data_dir}""")
    if info.url != "http://127.0.0.1:8080":
        show.say(f"  export GAMEPIPE_URL={info.url}")
