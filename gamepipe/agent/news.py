"""What passes between the agent and a living shim: news from it, a stop to it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from gamepipe.agent.launch import Launch
from gamepipe.agent.runtime import StopRequest

_LOOK_SECONDS = 0.05


class ShimNews:
    """Wakes up when the shim has something new, and when it died."""

    def __init__(self, descriptor: int, *, gone: bool) -> None:
        self.gone = gone
        self._descriptor = descriptor
        self._event = asyncio.Event()
        self._event.set()

    def take(self) -> None:
        """Called when the FIFO is readable."""
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return
        if not data:
            self.gone = True
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._event.set()

    async def wait(self) -> None:
        """Wait for news since the last call."""
        await self._event.wait()
        self._event.clear()


@contextlib.asynccontextmanager
async def news_of(launch: Launch) -> AsyncIterator[ShimNews]:
    try:
        descriptor = os.open(launch.folder / "wake", os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:  # The agent died while it made the folder.
        yield ShimNews(-1, gone=True)
        return
    loop = asyncio.get_running_loop()
    # Asked after the FIFO was opened: a shim that dies from here on shows as its end of file.
    news = ShimNews(descriptor, gone=not launch.is_alive())
    if not news.gone:
        loop.add_reader(descriptor, news.take)
    try:
        yield news
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


@contextlib.asynccontextmanager
async def pressing(launch: Launch, stop: StopRequest) -> AsyncIterator[None]:
    """While the block runs, a stop reaches the step: TERM, and KILL after the grace. It is told as
    soon as nothing runs any more, whatever of the output is still to be taken."""
    tasks = [asyncio.create_task(_press(launch, stop)), asyncio.create_task(_watch(launch, stop))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def _watch(launch: Launch, stop: StopRequest) -> None:
    await stop.wait()
    while True:
        if launch.end() is not None:
            stop.mark_gone()
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _press(launch: Launch, stop: StopRequest) -> None:
    await stop.wait()
    loop = asyncio.get_running_loop()
    asked = loop.time()
    if stop.grace_seconds > 0:
        launch.send(b"T")
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout_at(asked + stop.grace_seconds):
                await stop.wait_shortened()
    launch.send(b"K")
