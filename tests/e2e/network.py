"""A machine of its own on the network: a namespace behind a cable that can be cut."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.required import require


def require_namespaces() -> None:
    """Skip where they cannot be made."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("iptables"):
        require("namespaces", "network namespaces need root, and Debian's iproute2 and iptables")


def run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout


class Machine:
    """`exec` is the beginning of a command line that runs there; `here` is our address for it."""

    def __init__(self) -> None:
        self._cable = f"gp-{secrets.token_hex(4)}"
        self.name = f"gamepipe-{self._cable}"
        network = _free_network()
        self.here, self.there = f"{network}.1", f"{network}.2"
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
        """The cable goes by name, too: the namespace lives for as long as a process is in it."""
        for kind, name in (("link", self._cable), ("netns", self.name)):  # it may lack either
            subprocess.run(["ip", kind, "delete", name], check=False, capture_output=True)

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


@contextmanager
def far_machine() -> Iterator[Machine]:
    machine = Machine()
    try:
        machine.start()
        yield machine
    finally:
        machine.stop()


def _free_network() -> str:
    """The first three numbers of an address range that nobody here uses, not even a run of these
    tests that was killed and left its cables behind."""
    links = json.loads(run("ip", "-json", "-4", "address"))
    used = {address["local"].rpartition(".")[0] for link in links for address in link["addr_info"]}
    return secrets.choice([free for n in range(256) if (free := f"10.77.{n}") not in used])
