"""Watching a pipeline: its log lines as they come, its steps with elapsed times below them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gamepipe.cli import show
from gamepipe.cli.client import CONNECT_SECONDS, Target, check, explained

TERMINAL = ("completed", "failed", "canceled")
REFRESH_PER_SECOND = 8
RECONNECT_SECONDS = 1.0
MARKS = {
    "completed": ("✔", "green"),
    "failed": ("✘", "red"),
    "skipped": ("-", "bright_black"),
    "pending": ("·", "bright_black"),
}


def watch_pipeline(target: Target, pipeline_id: str, *, quiet: bool = False) -> dict[str, Any]:
    """Follow a pipeline to its end and return its record; `quiet` prints nothing."""
    with explained(target):
        return asyncio.run(_Watch(target, pipeline_id, quiet=quiet).run())


class _Watch:
    def __init__(self, target: Target, pipeline_id: str, *, quiet: bool) -> None:
        self._target = target
        self._path = f"/pipelines/{pipeline_id}"
        self._quiet = quiet
        self._record: dict[str, Any] = {}
        self._printed: dict[tuple[int, int], str] = {}
        self._seen_logs: dict[tuple[int, int, int], int] = {}

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
            await self._look(http)
        return self._record

    async def _show(self, http: httpx.AsyncClient) -> None:
        if not show.console.is_terminal:
            await self._follow(http)
            return
        with Live(
            console=show.console,
            refresh_per_second=REFRESH_PER_SECOND,
            get_renderable=self._picture,
        ):
            await self._follow(http)

    async def _follow(self, http: httpx.AsyncClient) -> None:
        """Both streams end by themselves behind the pipeline's end."""
        await asyncio.gather(self._follow_events(http), self._follow_logs(http))

    async def _look(self, http: httpx.AsyncClient) -> None:
        answer = await http.get(self._path)
        check(answer)
        self._record = answer.json()
        if not self._quiet and not show.console.is_terminal:
            self._tell_changes()

    # --- streams --------------------------------------------------------------------------------

    async def _follow_events(self, http: httpx.AsyncClient) -> None:
        """Look again at every event; a gateway that goes away is waited for."""
        while self._record["state"] not in TERMINAL:
            with contextlib.suppress(httpx.TransportError):
                async for line in self._lines(http, "events", "text/event-stream"):
                    if line.startswith("data:"):
                        await self._look(http)
                    if self._record["state"] in TERMINAL:
                        return
                    if line.startswith(":"):
                        await self._look(http)
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

    def _tell_line(self, line: dict[str, Any]) -> None:
        """One log line behind its step's name; not twice when the stream was opened again."""
        key = (line["generation"], line["step_index"], line["attempt"])
        if line["number"] <= self._seen_logs.get(key, 0):
            return
        self._seen_logs[key] = line["number"]
        name = self._record["definition"]["steps"][line["step_index"]]["name"]
        style = {"stderr": "yellow", "system": "bright_black"}.get(line["stream"], "")
        text = Text.from_ansi(line["text"])
        text.stylize_before(style)
        show.console.print(Text.assemble((f"{name} │ ", "bright_black"), text))

    def _tell_changes(self) -> None:
        """Without a terminal: one line for each change of a step."""
        for step in self._record["steps"]:
            key = (step["generation"], step["index"])
            told = f"{step['state']} {step['attempt']}"
            if step["state"] == "pending" or self._printed.get(key) == told:
                continue
            self._printed[key] = told
            took = show.elapsed(step["started_at"], step["ended_at"])
            why = show.outcome(step)
            show.console.print(
                f"[{step['index'] + 1}/{len(self._record['steps'])}] {step['name']}: "
                f"{step['state']} ({took}){f' {why}' if why else ''}",
                markup=False,
            )

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False, show_header=False)
        for step in self._record["steps"]:
            table.add_row(*_step_row(step))
        progress, record = self._record["progress"], self._record
        head = Text.assemble(
            (record["id"], "bold"),
            " ",
            show.state(record["state"]),
            f" {progress['ended']}/{progress['total']} steps, {progress['percent']:.0f} %, ",
            show.elapsed(record["started_at"] or record["created_at"], record["ended_at"]),
            f"  {show.outcome(record)}",
        )
        return Group(Text(), head, table)


def _step_row(step: dict[str, Any]) -> tuple[Any, ...]:
    took = show.elapsed(step["started_at"], step["ended_at"])
    if step["state"] == "running":
        bar = ProgressBar(total=100, completed=step["percent"] or 0, width=20)
        mark: Any = Spinner("dots", style="cyan")
        return mark, Text(step["name"], style="cyan"), took, bar, step["message"]
    symbol, style = MARKS[step["state"]]
    return Text(symbol, style=style), Text(step["name"], style=style), took, "", show.outcome(step)
