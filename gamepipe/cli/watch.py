"""Watching a pipeline: its log lines as they come, its steps with elapsed times below them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from rich.console import Group
from rich.live import Live
from rich.text import Text

from gamepipe.agent.together import run_together
from gamepipe.cli import show
from gamepipe.cli.change import ChangeTeller
from gamepipe.cli.client import CONNECT_SECONDS, Target, check, explained
from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.cli.picture import draw
from gamepipe.cli.prefix import StepPrefix

TERMINAL = ("completed", "failed", "canceled")
REFRESH_PER_SECOND = 8
RECONNECT_SECONDS = 1.0


def watch_pipeline(target: Target, pipeline_id: str, *, quiet: bool = False) -> dict[str, Any]:
    """Follow a pipeline to its end and return its record; `quiet` prints nothing.

    Raises:
        CommandFailed: Ctrl-C, which says that the pipeline goes on; or no gateway answers.
    """
    try:
        return asyncio.run(follow_pipeline(target, pipeline_id, quiet=quiet))
    except KeyboardInterrupt:
        raise CommandFailed(
            f"{pipeline_id} goes on: see `gamepipe watch {pipeline_id}`, or end it with "
            f"`gamepipe cancel {pipeline_id}`",
            ExitStatus.INTERRUPTED,
        ) from None


async def follow_pipeline(
    target: Target, pipeline_id: str, *, quiet: bool = False
) -> dict[str, Any]:
    """`watch_pipeline` for callers with a loop of their own; it can be cancelled at any time."""
    with explained(target):
        return await _Watch(target, pipeline_id, quiet=quiet).run()


class _Watch:
    def __init__(self, target: Target, pipeline_id: str, *, quiet: bool) -> None:
        self._target = target
        self._path = f"/pipelines/{pipeline_id}"
        self._quiet = quiet
        self._record: dict[str, Any] = {}
        self._changes = ChangeTeller()
        self._seen_logs: dict[tuple[int, int, int], int] = {}
        self._note = ""
        """Why nothing comes at present."""

    async def run(self) -> dict[str, Any]:
        timeout = httpx.Timeout(30.0, connect=CONNECT_SECONDS)
        async with httpx.AsyncClient(
            base_url=f"{self._target.url}/api/v1",
            headers=self._target.headers,
            timeout=timeout,
            trust_env=False,
        ) as http:
            await self._look(http)
            if self._quiet:
                await self._follow_events(http)
            else:
                await self._show(http)
            with contextlib.suppress(httpx.TransportError):
                await self._look(http)
        return self._record

    async def _show(self, http: httpx.AsyncClient) -> None:
        if not show.console.is_terminal:
            await self._follow(http)
            self._changes.tell_end(self._record)
            return
        with Live(
            console=show.console,
            refresh_per_second=REFRESH_PER_SECOND,
            get_renderable=self._picture,
        ):
            await self._follow(http)

    async def _follow(self, http: httpx.AsyncClient) -> None:
        """Both streams end by themselves behind the pipeline's end; an error of one ends both."""
        await run_together(self._follow_events(http), self._follow_logs(http))

    async def _look(self, http: httpx.AsyncClient) -> None:
        answer = await http.get(self._path)
        check(answer)
        self._record = answer.json()
        self._note = ""
        if not self._quiet and not show.console.is_terminal:
            self._changes.tell(self._record)

    # --- streams --------------------------------------------------------------------------------

    async def _follow_events(self, http: httpx.AsyncClient) -> None:
        """Look again at every event; a gateway that goes away is waited for."""
        while self._record["state"] not in TERMINAL:
            try:
                async for line in self._lines(http, "events", "text/event-stream"):
                    if line.startswith(("data:", ":")):
                        await self._look(http)
                    if self._record["state"] in TERMINAL:
                        return
            except httpx.TransportError:
                self._tell_away()
            await asyncio.sleep(RECONNECT_SECONDS)
            with contextlib.suppress(httpx.TransportError):
                await self._look(http)

    async def _follow_logs(self, http: httpx.AsyncClient) -> None:
        while True:
            with contextlib.suppress(httpx.TransportError):
                async for line in self._lines(http, "logs?follow=true", "application/x-ndjson"):
                    self._tell_line(json.loads(line))
                if self._record["state"] in TERMINAL:
                    return
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _lines(self, http: httpx.AsyncClient, what: str, accept: str) -> AsyncIterator[str]:
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        headers = {"Accept": accept}
        url = f"{self._path}/{what}"
        async with http.stream("GET", url, headers=headers, timeout=timeout) as answer:
            if answer.is_error:
                await answer.aread()
            check(answer)
            async for line in answer.aiter_lines():
                yield line

    # --- what people see ------------------------------------------------------------------------

    def _tell_away(self) -> None:
        """Once, until it answers again."""
        note = f"no gateway answers at {self._target.url}; waiting for it"
        if self._note == note:
            return
        self._note = note
        if not self._quiet and not show.console.is_terminal:
            show.errors.print(note)

    def _tell_line(self, line: dict[str, Any]) -> None:
        """One log line behind its step's name; not twice when the stream was opened again."""
        key = (line["generation"], line["step_index"], line["attempt"])
        if line["number"] <= self._seen_logs.get(key, 0):
            return
        self._seen_logs[key] = line["number"]
        prefix = StepPrefix(self._record["steps"]).of(line["step_index"])
        style = {"stderr": "yellow", "system": "bright_black"}.get(line["stream"], "")
        text = Text.from_ansi(line["text"])
        text.stylize_before(style)
        show.console.print(Text.assemble((prefix, "bright_black"), text))

    def _picture(self) -> Group:
        return draw(self._record, rows=show.console.height, note=self._note)
