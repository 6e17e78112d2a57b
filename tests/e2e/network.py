"""A machine of its own on the network: a namespace behind a cable that can be cut."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.temporal_fixtures import require

_numbers = itertools.count(1)


def require_namespaces() -> None:
    """Skip where they cannot be made."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("iptables"):
        require("namespaces", "network namespaces need root, and Debian's iproute2 and iptables")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Machine:
    """`exec` is the beginning of a command line that runs there; `here` is our address for it."""

    def __init__(self) -> None:
        number = next(_numbers)
        self.name = f"gamepipe-{os.getpid()}-{number}"
        self._cable = f"gp{os.getpid() % 100_000}n{number}"
        self.here, self.there = f"10.77.{number}.1", f"10.77.{number}.2"
        self.exec = ("ip", "netns", "exec", self.name)

    def start(self) -> None:
        run("ip", "netns", "add", self.name)
        ends = (self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "add", *ends)
        run("ip", "address", "add", f"{self.here}/24", "dev", self._cable)
        run("ip", "link", "set", self._cable, "up")
        run(*self.exec, "ip", "address", "add", f"{self.there}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            run(*self.exec, "ip", "link", "set", device, "up")

    def stop(self) -> None:
        run("ip", "netns", "delete", self.name)

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Every packet is dropped, both ways, and nobody is told: no RST, no FIN."""
        self._filter("-A")
        try:
            yield
        finally:
            self._filter("-D")

    def _filter(self, action: str) -> None:
        for chain, flag in (("INPUT", "-i"), ("OUTPUT", "-o")):
            run(*self.exec, "iptables", action, chain, flag, "eth0", "-j", "DROP")
