"""What the engine refuses, as a reason, a sentence and a remedy."""

import re

from gamepipe.agent.container_engine import EngineRefused, EngineUnavailable
from gamepipe.model import reason as reasons
from gamepipe.model.spec import Container

_TAKEN = re.compile(
    r"(?:Bind for|listen \w+|bind host port(?: for)?) (\S*?):(\d+)[:/ ].*?"
    r"(?:port is already allocated|address already in use)"
)
_TAKEN_TEXTS = ("port is already allocated", "address already in use")


class UnsupportedField(Exception):
    """A field cannot be honoured; the message names the field and what to do."""


class Refusal(Exception):
    """The attempt ends before its container runs."""

    def __init__(self, reason: str, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable


def unavailable(error: EngineUnavailable) -> Refusal:
    return Refusal(
        reasons.RUNTIME_UNAVAILABLE,
        f"the Docker engine on this node does not answer ({error}): start it "
        "(systemctl start docker), or point the agent to it with --docker-url",
    )


def refused(error: EngineRefused, container: Container) -> Refusal:
    """Why a container could not be created or started."""
    text = error.message.strip()
    if error.status == 404 and "No such image" in text:
        return Refusal(
            reasons.IMAGE_PULL_FAILED,
            f"image {container.image} is not on this node any more: run the step again",
        )
    if any(part in text for part in _TAKEN_TEXTS):
        return Refusal(
            reasons.PORT_TAKEN,
            f"{_taken_port(text, container)} is taken on this node: stop what holds it, or "
            "publish another port",
        )
    return Refusal(
        reasons.CONTAINER_REFUSED,
        f"the Docker engine refused the container: {text}{_remedy(text)}",
        retryable=error.status != 400,
    )


def _taken_port(text: str, container: Container) -> str:
    match = _TAKEN.search(text)
    if match is not None:
        return f"port {match[2]} ({match[1] or 'any address'})"
    ports = ", ".join(port.host for port in container.ports if port.host)
    return f"one of the ports {ports}"


def _remedy(text: str) -> str:
    if "could not select device driver" in text:
        return (
            ". Install the driver's runtime on the node (nvidia-container-toolkit for GPUs), or "
            "place the pipeline on a node that has it"
        )
    if "executable file not found" in text or "no such file or directory" in text:
        return ". Check the image's program, `commands` (they need /bin/sh), devices and paths"
    return ""
