"""`gamepipe demo`: one pipeline on a stack of its own, which leaves nothing behind."""

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.text import Text

from gamepipe.cli import show
from gamepipe.cli.client import ApiClient, Target, find_target
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.interruption import Interruption
from gamepipe.cli.option import Arg, Env, Secret, TokenFile, parse_pairs, read_file
from gamepipe.cli.pipelines import print_pipeline
from gamepipe.cli.stack import check_options, say_where, start
from gamepipe.cli.submission import submission
from gamepipe.cli.watch import follow_pipeline
from gamepipe.embedded.leftover import kill_steps
from gamepipe.embedded.stack import Stack, StackOptions
from gamepipe.logs import configure_logging

CANCEL_SECONDS = 2.0
"""For the end of an interrupted pipeline; what still runs then is killed."""
INSTANCES_SECONDS = 10.0
"""For the end of services that the pipeline left running."""


def demo(
    file: Annotated[Path, typer.Argument(help="Pipeline file of command steps.")],
    arg: Arg = [],  # noqa: B006
    env: Env = [],  # noqa: B006
    secret: Secret = [],  # noqa: B006
    data_dir: Annotated[
        Path | None, typer.Option(help="Kept afterwards; else thrown away.")
    ] = None,
    token_file: TokenFile = None,
) -> None:
    """Start the stack, run a pipeline on it, show everything, leave nothing behind."""
    configure_logging("WARNING")
    body = submission(
        read_file(file),
        file=str(file),
        args=parse_pairs(arg, "--arg"),
        envs=parse_pairs(env, "--env"),
        secret_values=parse_pairs(secret, "--secret"),
    )
    with contextlib.ExitStack() as stack:
        folder = data_dir or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="gamepipe-demo-"))
        )
        options = StackOptions(data_dir=folder, allow_commands=True, token_file=token_file)
        check_options(options)
        status = asyncio.run(_Demo(options, body, keep=data_dir is not None).run())
    raise typer.Exit(status)


class _Demo:
    """Runs once; `body` is what is submitted."""

    def __init__(self, options: StackOptions, body: dict[str, Any], *, keep: bool) -> None:
        self._options = options
        self._stack = Stack(options)
        self._body = body
        self._keep = keep
        self._record: dict[str, Any] = {}

    async def run(self) -> int:
        """The exit status. A signal at any moment ends everything in a few seconds."""
        interruption = Interruption()
        await interruption.end(start(self._stack))
        if interruption.status:
            return interruption.status
        try:
            await interruption.end(self._run_pipeline())
            if interruption.status:
                await self._cancel()
            elif not self._keep:
                await interruption.end(self._stop_instances())
        finally:
            await self._stop()
        if not interruption.status:
            self._say_end()
        return interruption.status or self._status()

    def _say_end(self) -> None:
        """The links that were printed lead nowhere any more."""
        kept = f"its data is kept in {self._options.data_dir}" if self._keep else "nothing is left"
        show.say(f"\nEverything was stopped, and {kept}. To keep it running: gamepipe up")

    def _status(self) -> int:
        completed = self._record["state"] == "completed"
        return ExitStatus.DONE if completed else ExitStatus.FAILED

    async def _run_pipeline(self) -> None:
        say_where(self._stack, self._options)
        api, body = ApiClient(self._target), self._body
        record = await asyncio.to_thread(api.call, "POST", "/pipelines", body=body)
        show.console.print(Text.assemble(f"\nsubmitted {body['file']} as ", (body["id"], "bold")))
        show.say(f"  this very run in Temporal's Web UI: {record['workflow_url']}\n")
        self._record = await follow_pipeline(self._target, body["id"])
        show.console.print()
        print_pipeline(self._record)

    @property
    def _target(self) -> Target:
        return find_target(self._stack.info.url, self._options.token_file)

    # --- the end --------------------------------------------------------------------------------

    async def _cancel(self) -> None:
        """Ask for the pipeline's end at once and wait for it, but not for long."""
        show.say(f"\ncanceling {self._body['id']} and stopping everything ...")
        with contextlib.suppress(httpx.TransportError, CommandFailed, TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS), self._http() as http:
                wanted = {"reason": "the demo was interrupted", "grace_seconds": 0}
                await http.post(f"/pipelines/{self._body['id']}/cancel", json=wanted)
                await follow_pipeline(self._target, self._body["id"], quiet=True)

    async def _stop_instances(self) -> None:
        """Services outlive their pipeline, but not the stack that alone knows of them."""
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(INSTANCES_SECONDS), self._http() as http:
                for one in await _live(http):
                    show.say(f"stopping instance {one['id']} ...")
                    await http.post(f"/instances/{one['id']}/stop", json={"grace_seconds": 0})
                while True:
                    if not await _live(http):
                        return
                    await asyncio.sleep(0.1)

    async def _stop(self) -> None:
        await self._stack.stop()
        if not self._keep:
            await asyncio.to_thread(kill_steps, self._options.data_dir / "agent")

    def _http(self) -> httpx.AsyncClient:
        target = self._target
        return httpx.AsyncClient(
            base_url=f"{target.url}/api/v1", headers=target.headers, trust_env=False
        )


async def _live(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await http.get("/instances", params={"live": True})
    return list(answer.json()) if answer.is_success else []
