"""Ports of the embedded stack: the usual one, or a free one when that is taken."""

import socket
from dataclasses import dataclass


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
    """`wanted` if it is free, else one that the system chooses; never one in `taken`."""
    for candidate in (wanted, *([0] * 20)):
        number = _bindable(host, candidate)
        if number and number not in taken:
            taken.add(number)
            return Port(name, number, wanted)
    raise OSError(f"no free port for {name} on {host}")


def _bindable(host: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])
