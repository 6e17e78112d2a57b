"""The Docker engine's API, as far as the agent needs it, with two kinds of failure.

::

    EngineError
    ├── EngineUnavailable   it does not answer (or went away in the middle): later it may
    └── EngineRefused       it answered no; `status` is the API's, `message` its text
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from gamepipe.agent.container_facts import ContainerFacts, ContainerSummary

DEFAULT_URL = "unix:///var/run/docker.sock"
_CONNECTION_FAILED = 900
"""aiodocker's own status for an engine that it cannot reach."""
_READ_BYTES = 64 * 1024
_GONE = frozenset({304, 404, 409})
"""Answers to a signal or a removal that mean: nothing runs there (any more)."""


class EngineError(Exception):
    """Something about the engine; the message is for people."""


class EngineUnavailable(EngineError):
    """The engine does not answer."""


class EngineRefused(EngineError):
    """The engine answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def connect_docker(url: str = DEFAULT_URL) -> Docker:
    """A client for `unix://`, `tcp://` or `http(s)://`; connects lazily, so it never fails here.

    Every followed step holds two connections open, so their number is not limited.
    """
    if url.startswith("unix://"):
        connector = aiohttp.UnixConnector(url.removeprefix("unix://"), limit=0)
        session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout())
        return _OwningDocker(url=url, session=session)
    return Docker(url=url)


class _OwningDocker(Docker):
    """aiodocker leaves a session that it was given open; nobody else holds this one."""

    async def close(self) -> None:
        await super().close()
        await self.session.close()


class EngineStream:
    """The body of an answer that goes on until it is closed."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content

    async def read(self) -> bytes:
        """Some bytes; b"" at the end. Raises `EngineUnavailable` when the connection breaks."""
        with _translated():
            return await self._content.read(_READ_BYTES)

    async def read_objects(self) -> AsyncIterator[dict[str, Any]]:
        """JSON objects, one on each line."""
        rest = b""
        while data := await self.read():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)


class ContainerEngine:
    """Calls of the API; paths are relative to its version."""

    def __init__(self, docker: Docker) -> None:
        self._docker = docker

    async def call(
        self,
        method: str,
        path: str,
        *,
        data: Mapping[str, Any] | None = None,
        **params: str | int,
    ) -> Any:
        """The answer, decoded. Raises `EngineUnavailable` or `EngineRefused`."""
        with _translated():
            return await self._docker._query_json(path, method, params=params, data=data)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **params: str | int,
    ) -> AsyncIterator[EngineStream]:
        """An answer that is read as it comes; leaving the block closes its connection."""
        with _translated():
            query = self._docker._query(path, method, params=params, headers=headers)
            response = await query.__aenter__()
        try:
            yield EngineStream(response)
        finally:
            response.close()

    async def inspect(self, name_or_id: str) -> ContainerFacts | None:
        """What the engine knows of a container; None when there is none."""
        try:
            answer = await self.call("GET", f"containers/{name_or_id}/json")
        except EngineRefused as error:
            if error.status == 404:
                return None
            raise EngineUnavailable(f"the Docker engine fails: {error.message}") from error
        return ContainerFacts.from_inspect(answer)

    async def find(self, labels: Mapping[str, str]) -> list[ContainerSummary]:
        """Every container, in any state, that carries these labels."""
        filters = json.dumps({"label": [f"{name}={value}" for name, value in labels.items()]})
        answer = await self.call("GET", "containers/json", all=1, filters=filters)
        return [ContainerSummary.from_list(item) for item in answer]

    async def signal(self, name_or_id: str, signal: str) -> None:
        """Send a signal to the container's first process; one that is gone is fine."""
        await self._unless_gone("POST", f"containers/{name_or_id}/kill", signal=signal)

    async def unpause(self, name_or_id: str) -> None:
        await self._unless_gone("POST", f"containers/{name_or_id}/unpause")

    async def pause(self, name_or_id: str) -> None:
        await self._unless_gone("POST", f"containers/{name_or_id}/pause")

    async def remove(self, name_or_id: str) -> None:
        """Remove a container, running or not, with its anonymous volumes."""
        await self._unless_gone("DELETE", f"containers/{name_or_id}", force=1, v=1)

    async def _unless_gone(self, method: str, path: str, **params: str | int) -> None:
        try:
            await self.call(method, path, data=None, **params)
        except EngineRefused as error:
            if error.status not in _GONE:
                raise


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DockerError as error:
        if error.status == _CONNECTION_FAILED:
            raise EngineUnavailable(error.message) from error
        raise EngineRefused(error.status, error.message) from error
    except (aiohttp.ClientError, OSError) as error:
        raise EngineUnavailable(f"the connection to the Docker engine broke: {error!r}") from error
