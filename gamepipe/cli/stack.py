"""`gamepipe up` and `gamepipe demo`: the embedded stack."""

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gamepipe.cli import show
from gamepipe.cli.client import ApiClient, Target
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.option import read_file
from gamepipe.cli.pipelines import create, print_pipeline
from gamepipe.cli.watch import watch_pipeline
from gamepipe.embedded.stack import Stack, StackOptions, default_data_dir
from gamepipe.logs import configure_logging
from gamepipe.model.errors import GamePipeError


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
) -> None:
    """Run the whole service here, in the foreground: Temporal, gateway, worker, one agent."""
    configure_logging("WARNING")
    options = StackOptions(
        data_dir=data_dir or default_data_dir(),
        allow_commands=allow_commands,
        facts=facts,
        free_ports=free_ports,
    )
    asyncio.run(_up(options))


async def _up(options: StackOptions) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stack = Stack(options)
    starting = asyncio.ensure_future(_start(stack))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    starting.result()
    _say_where(stack, options)
    watching = asyncio.create_task(stack.watch())
    await stopping
    watching.cancel()
    show.console.print("stopping ...")
    await stack.stop()


async def _start(stack: Stack) -> None:
    try:
        await stack.start()
    except GamePipeError as error:
        raise CommandFailed(error.message) from error


def _say_where(stack: Stack, options: StackOptions) -> None:
    info = stack.info
    for port in stack.moved_ports:
        show.console.print(f"port {port.wanted} is taken: {port.name} is on {port.number}")
    show.console.print(f"""The game pipeline service runs; Ctrl-C stops it.
  REST     {info.url}/docs
  gRPC     {info.grpc_address}
  Temporal {info.temporal_ui_url}
  data     {options.data_dir}""")
    if info.url != "http://127.0.0.1:8080":
        show.console.print(f"  export GAMEPIPE_URL={info.url}")


def demo(
    file: Annotated[Path, typer.Argument(help="Pipeline file of command steps.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Kept afterwards; else thrown away.")
    ] = None,
) -> None:
    """Start the stack, run a pipeline on it, show everything, leave nothing behind."""
    configure_logging("WARNING")
    text = read_file(file)
    with tempfile.TemporaryDirectory(prefix="gamepipe-demo-") as folder:
        options = StackOptions(data_dir=data_dir or Path(folder), allow_commands=True)
        completed = asyncio.run(_demo(options, text, str(file)))
    if not completed:
        raise typer.Exit(ExitStatus.FAILED)


async def _demo(options: StackOptions, text: str, file: str) -> bool:
    stack = Stack(options)
    show.console.print("starting Temporal, gateway, worker and one agent ...")
    await _start(stack)
    try:
        _say_where(stack, options)
        return await asyncio.to_thread(_run_pipeline, stack, text, file)
    finally:
        await stack.stop()


def _run_pipeline(stack: Stack, text: str, file: str) -> bool:
    api = ApiClient(Target(url=stack.info.url))
    record = create(api_call=api.call, text=text, file=file)
    show.console.print(f"submitted {file} as [bold]{record['id']}[/]")
    show.console.print(f"  this very run in Temporal's Web UI: {record['workflow_url']}\n")
    record = watch_pipeline(api.target, record["id"])
    show.console.print()
    print_pipeline(record)
    return bool(record["state"] == "completed")
