"""What the machine has: detected, and overridden by a file; and what it uses now."""

import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import psutil
import structlog
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

import gamepipe
from gamepipe.agent.gpu import GpuMeter, detect_gpus
from gamepipe.agent.network import NetworkMeter
from gamepipe.model.errors import GamePipeError
from gamepipe.model.node import GpuFacts, NodeFacts, NodeMetrics

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)?")
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
COMMAND, CONTAINER = "command", "container"
_IDLE = (0.0, 0.0)
_T = TypeVar("_T")
_log = structlog.get_logger()


class BadFacts(GamePipeError):
    """The facts file cannot be used; the message names every mistake and its remedy."""

    reason = "FACTS_INVALID"


def detect_facts(
    data_dir: Path,
    *,
    docker_version: str = "",
    images: tuple[str, ...] = (),
    allow_commands: bool = False,
) -> NodeFacts:
    """Facts of this machine. `data_dir` exists; its file system is the node's disk."""
    features = [COMMAND] if allow_commands else []
    if docker_version:
        features.append(CONTAINER)
    return NodeFacts(
        cpu=float(psutil.cpu_count() or 1),
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=psutil.disk_usage(str(data_dir)).total,
        gpus=detect_gpus(),
        os=_os_name(),
        kernel=platform.release(),
        architecture=platform.machine(),
        docker_version=docker_version,
        agent_version=gamepipe.__version__,
        features=tuple(features),
        images=images,
    )


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


# --- the file ------------------------------------------------------------------------------------


def _bytes(value: Any) -> Any:
    """Bytes of `24GiB`; what is no text is left to the check of integers."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("write a size such as `24GiB`, or plain bytes")
    return round(float(match[1]) * _UNITS[match[2] or "B"])


Size = Annotated[int, Field(ge=0), BeforeValidator(_bytes)]


class _Gpu(BaseModel):
    model_config = ConfigDict(extra="forbid")
    index: int | None = Field(default=None, ge=0)
    """Absent: its place in the list."""
    model: str
    memory_bytes: Size = 0
    uuid: str = ""
    encoders: int = Field(default=0, ge=0)


class _FactsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cpu: float | None = Field(default=None, gt=0)
    memory_bytes: Size | None = None
    disk_bytes: Size | None = None
    gpus: list[_Gpu] | None = None
    os: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    docker_version: str | None = None
    agent_version: str | None = None
    features: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None


def override_facts(facts: NodeFacts, path: Path) -> NodeFacts:
    """The facts with the fields of the file (YAML or JSON) in their place. Raises `BadFacts`."""
    given = _read(path).model_dump(exclude_none=True, exclude={"gpus"})
    gpus = _read(path).gpus
    if gpus is not None:
        given["gpus"] = tuple(
            GpuFacts(**{**gpu.model_dump(), "index": place if gpu.index is None else gpu.index})
            for place, gpu in enumerate(gpus)
        )
    return replace(facts, **given)


def _read(path: Path) -> _FactsFile:
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadFacts(f"facts file {path}: {error}; name a readable file with --facts") from error
    except YAMLError as error:
        raise BadFacts(f"facts file {path} is neither YAML nor JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadFacts(f"facts file {path}: write `field: value` lines, such as `cpu: 8`")
    try:
        return _FactsFile.model_validate(content)
    except ValidationError as error:
        raise BadFacts("\n".join(_mistakes(path, error))) from None


def _mistakes(path: Path, error: ValidationError) -> Iterator[str]:
    for mistake in error.errors():
        where = ".".join(map(str, mistake["loc"]))
        problem = mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            model = _Gpu if mistake["loc"][0] == "gpus" else _FactsFile
            problem = f"unknown field; use one of {', '.join(model.model_fields)}"
        yield f"facts file {path}: {where}: {problem}"


# --- what it uses --------------------------------------------------------------------------------


class MetricsSampler:
    """Samples of what the machine uses, for heartbeats; shares and rates since the last one.

    What cannot be read is left at 0 and logged once: a heartbeat is more than its numbers.
    """

    def __init__(self, data_dir: Path, running_steps: Callable[[], int]) -> None:
        self._data_dir = data_dir
        self._running_steps = running_steps
        self._failed: set[str] = set()
        self._gpus = GpuMeter()
        self._network = self._read("network", NetworkMeter, None)
        psutil.cpu_percent()

    def sample(self) -> NodeMetrics:
        network = self._network
        received, sent = self._read("network", network.sample, _IDLE) if network else _IDLE
        return NodeMetrics(
            cpu_share=psutil.cpu_percent() / 100.0,
            memory_used_bytes=psutil.virtual_memory().used,
            disk_used_bytes=psutil.disk_usage(str(self._data_dir)).used,
            running_steps=self._running_steps(),
            gpus=self._gpus.sample(),
            network_received_bytes_per_second=received,
            network_sent_bytes_per_second=sent,
        )

    def _read(self, what: str, read: Callable[[], _T], otherwise: _T) -> _T:
        try:
            value = read()
        except OSError as error:
            if what not in self._failed:
                self._failed.add(what)
                _log.warning("metric.absent", action="metric.absent", of=what, error=str(error))
            return otherwise
        self._failed.discard(what)
        return value


def facts_fields(facts: NodeFacts) -> dict[str, Any]:
    """For the log: facts by name, without long lists."""
    fields = asdict(facts)
    fields["gpus"] = [gpu.model for gpu in facts.gpus]
    fields["images"] = len(facts.images)
    return fields
