"""Images: is it there, and how it is pulled, with progress."""

import asyncio
import base64
import itertools
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gamepipe.agent.container_engine import ContainerEngine, EngineRefused, EngineStream
from gamepipe.agent.runtime import LineSink
from gamepipe.model.record import LogStream
from gamepipe.model.spec import PullPolicy

Progress = Callable[[float | None, str], Awaitable[None]]
_LINE_SECONDS = 5
_MIB = 1024 * 1024
_DOCKER_HUB = "https://index.docker.io/v1/"


class PullFailed(Exception):
    """The image cannot be had; the message names it and what to do."""


@dataclass
class _Layers:
    """Bytes of each layer, as far as the engine said."""

    current: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        layer, status = event.get("id", ""), event.get("status", "")
        detail = event.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self.current[layer], self.total[layer] = detail.get("current", 0), detail["total"]
        elif status in {"Download complete", "Pull complete"} and layer in self.total:
            self.current[layer] = self.total[layer]

    def __str__(self) -> str:
        total = sum(self.total.values())
        if not total:
            return "waiting for the registry"
        current = sum(self.current.values())
        return f"{100 * current // total} % of {total / _MIB:.1f} MiB"


@dataclass(frozen=True, kw_only=True)
class ImagePuller:
    """Makes an image available on the node."""

    engine: ContainerEngine
    clock: Callable[[], datetime]

    async def provide(
        self, image: str, policy: PullPolicy, *, sink: LineSink, on_progress: Progress
    ) -> dict[str, Any]:
        """The image's configuration, after a pull where the policy asks for one.

        Raises:
            PullFailed: it cannot be had.
            EngineUnavailable: the engine does not answer.
        """
        local = await self._inspect(image)
        if policy is PullPolicy.NEVER and local is None:
            raise PullFailed(
                f"image {image} is not on this node, and `pull: never` forbids to pull it: load "
                "it there (docker load), or use `pull: missing`"
            )
        if policy is PullPolicy.ALWAYS or local is None:
            await self._pull(image, sink, on_progress)
            local = await self._inspect(image)
        if local is None:
            raise PullFailed(f"image {image} was pulled, but is not on this node: pull it again")
        return local

    async def _inspect(self, image: str) -> dict[str, Any] | None:
        try:
            answer = await self.engine.call("GET", f"images/{image}/json")
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise PullFailed(f"image {image} cannot be used: {error.message}") from error
        config: dict[str, Any] = answer.get("Config") or {}
        return config

    async def _pull(self, image: str, sink: LineSink, on_progress: Progress) -> None:
        news = _PullNews(image=image, sink=sink, on_progress=on_progress, clock=self.clock)
        await news.say(f"pulling image {image}")
        name, tag = split_image(image)
        try:
            async with self.engine.stream(
                "POST",
                "images/create",
                headers=await asyncio.to_thread(registry_headers, image),
                fromImage=name,
                tag=tag,
            ) as stream:
                await news.follow(stream)
        except EngineRefused as error:
            raise PullFailed(
                f"image {image} could not be pulled: {error.message}. Check its name, the way from "
                "this node to the registry and the node's login there (docker login), or load the "
                "image on the node (docker load)"
            ) from error
        await news.say(f"pulled image {image}")


@dataclass
class _PullNews:
    """Progress of one pull: told once a second, as a line of the log less often."""

    image: str
    sink: LineSink
    on_progress: Progress
    clock: Callable[[], datetime]
    _layers: _Layers = field(default_factory=_Layers)

    async def say(self, text: str) -> None:
        await self.sink.write(LogStream.SYSTEM, text, at=self.clock())
        await self.on_progress(None, text)

    async def follow(self, stream: EngineStream) -> None:
        """Read to its end. Raises `EngineRefused` when it says that the pull failed."""
        telling = asyncio.create_task(self._tell())
        try:
            async for event in stream.read_objects():
                if "error" in event:
                    raise EngineRefused(0, event["error"])
                self._layers.take(event)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self) -> None:
        told = ""
        for second in itertools.count(1):
            await asyncio.sleep(1)
            text = f"pulling image {self.image}: {self._layers}"
            if text != told:
                told = text
                is_line = second % _LINE_SECONDS == 0
                await (self.say(text) if is_line else self.on_progress(None, text))


def split_image(image: str) -> tuple[str, str]:
    """(name, tag or digest); without any it is `latest`, or the engine would pull every tag."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    folder, _, last = image.rpartition("/")
    base, _, tag = last.partition(":")
    return (f"{folder}/{base}" if folder else base), tag or "latest"


def registry_of(image: str) -> str:
    """The registry's host as `docker login` stores it."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host and first not in {"docker.io", "index.docker.io"} else _DOCKER_HUB


def registry_headers(image: str) -> dict[str, str]:
    """The login of the agent's own user (`docker login`), if it has one for the registry."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        auths = json.loads((folder / "config.json").read_bytes()).get("auths", {})
        text = base64.b64decode(auths[registry_of(image)]["auth"]).decode()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    user, _, password = text.partition(":")
    login = json.dumps({"username": user, "password": password})
    return {"X-Registry-Auth": base64.urlsafe_b64encode(login.encode()).decode()}
