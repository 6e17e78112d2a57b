"""Ports of the embedded stack: the usual one, or a free one when that is taken."""

import secrets
import socket
from dataclasses import dataclass

_QUIET = range(20_000, 32_000)
"""Below the ports that Linux and macOS give to outgoing connections by default: none of these takes
one between its choice and its use."""


@dataclass(frozen=True, slots=True)
class Port:
    """`number` is free at this moment; `wanted` is what it would be by default."""

    name: str
    number: int
    wanted: int

    @property
    def is_moved(self) -> bool:
        return self.number != self.wanted


def pick_port(name: str, wanted: int, *, host: str = "127.0.0.1", taken: set[int]) -> Port:
    """`wanted` if it is free, else one by chance; never one in `taken`. `wanted` 0: any."""
    others = secrets.SystemRandom().sample(_QUIET, 100)
    for number in (wanted, *others):
        if number and number not in taken and _is_free(host, number):
            taken.add(number)
            return Port(name, number, wanted)
    raise OSError(f"no free port for {name} on {host}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
