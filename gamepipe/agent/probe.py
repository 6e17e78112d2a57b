"""How far a place is, by the time that a TCP connection to it takes to open: one round trip."""

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from gamepipe.model.latency import LONGEST_REPORTED, name_flaw

SAMPLES = 5
SAMPLE_SECONDS = 3.0
"""For one connection, and for the look-up of its name; a way that takes longer serves no player."""
_HIGHEST_PORT = 65535


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeTarget:
    """Something that accepts TCP connections where the players of a region are."""

    region: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.region}={self.host}:{self.port}"


def parse_target(text: str) -> ProbeTarget:
    """`REGION=HOST:PORT`. Raises ValueError for what could not be measured or reported."""
    region, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if wrong := _flaw(region, host, port):
        raise ValueError(
            f"{text!r} is no REGION=HOST:PORT, such as eu-north=probe.example:443: {wrong}"
        )
    return ProbeTarget(region=region, host=host, port=int(port))


def _flaw(region: str, host: str, port: str) -> str:
    if wrong := name_flaw(region, longest=LONGEST_REPORTED):  # gateways refuse a report with it
        return f"the region {wrong}"
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= _HIGHEST_PORT):
        return f"the port counts from 1 to {_HIGHEST_PORT}"
    try:
        host.encode("idna")  # as the look-up does
    except UnicodeError:
        return "the host is no name: each part between its dots has 1 to 63 characters"
    return "" if host and host.isprintable() else "the host is a name or an address"


async def round_trip_ms(target: ProbeTarget) -> float:
    """The shortest of a few: whatever disturbs a measurement makes it longer.

    Raises OSError when the first did not arrive; a TimeoutError is one.
    """
    async with asyncio.timeout(SAMPLE_SECONDS):
        family, address = await _resolve(target)
    shortest = await _connect_seconds(family, address)
    with suppress(OSError):  # of the others the first: it would take its whole time again and again
        for _ in range(SAMPLES - 1):
            shortest = min(shortest, await _connect_seconds(family, address))
    return 1000 * shortest


async def _resolve(target: ProbeTarget) -> tuple[int, tuple[object, ...]]:
    """Apart from the connection: the look-up of a name is no part of the way."""
    found = await asyncio.get_running_loop().getaddrinfo(
        target.host, target.port, type=socket.SOCK_STREAM
    )
    family, *_, address = found[0]
    return family, address


async def _connect_seconds(family: int, address: tuple[object, ...]) -> float:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        begun = time.perf_counter()
        async with asyncio.timeout(SAMPLE_SECONDS):
            await asyncio.get_running_loop().sock_connect(connection, address)
        return time.perf_counter() - begun
