"""The pipeline definition after parsing: frozen values, templates (`${{ ... }}`) still unresolved.

Everything here crosses process boundaries as JSON, so units are in the names and containers are
tuples and dicts. Values of `envs` and `secrets` are never part of a spec: only their names.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class StepType(StrEnum):
    CONTAINER = "container"
    SERVICE = "service"
    COMMAND = "command"


class OnNodeLost(StrEnum):
    RESCHEDULE = "reschedule"
    FAIL = "fail"
    WAIT = "wait"


class PullPolicy(StrEnum):
    MISSING = "missing"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """An arg or an env that the file declares. `default` None: required.

    For an env the default is a value like any other env value: it is moved to the store when a
    pipeline is created and is None in every spec that leaves the parser's caller.
    """

    name: str
    default: str | None = None
    has_default: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """One published port; texts because they may hold templates. `host` "" means any free one."""

    container: str
    host: str = ""
    host_ip: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True, kw_only=True, slots=True)
class Volume:
    """A bind mount (`source` starts with `/` or `.`) or a named volume."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    source: str
    target: str
    permissions: str = "rwm"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceRequest:
    """`deploy.resources.reservations.devices`; `count` -1: all; `device_ids` exclude `count`."""

    capabilities: tuple[str, ...]
    driver: str = ""
    count: int | None = None
    device_ids: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Healthcheck:
    """`test` as Docker's API takes it (`["CMD", ...]`, `["CMD-SHELL", "..."]`, `["NONE"]`)."""

    test: tuple[str, ...]
    interval_seconds: float | None = None
    timeout_seconds: float | None = None
    start_period_seconds: float | None = None
    retries: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    image: str
    commands: tuple[str, ...] = ()
    """Lines of one `/bin/sh -e` script, in place of the entrypoint."""
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    ports: tuple[Port, ...] = ()
    devices: tuple[Device, ...] = ()
    tmpfs: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    privileged: bool = False
    hostname: str = ""
    user: str = ""
    working_dir: str = ""
    healthcheck: Healthcheck | None = None
    device_requests: tuple[DeviceRequest, ...] = ()
    pull: PullPolicy = PullPolicy.MISSING
    cpu_limit: float | None = None
    """Cores, from `deploy.resources.limits.cpus`."""
    memory_limit_bytes: int | None = None
    """From `deploy.resources.limits.memory`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """Attempts in all (1: no retry); before attempt n+1: initial * factor^(n-1), capped."""

    max_attempts: int = 1
    initial_seconds: float = 1.0
    factor: float = 2.0
    max_seconds: float = 60.0

    def delay_seconds(self, failed_attempt: int) -> float:
        """Seconds to wait after attempt number `failed_attempt` (from 1) failed."""
        exponent = min(failed_attempt - 1, 64)
        return min(self.initial_seconds * self.factor**exponent, self.max_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    index: int
    """From 0; containers and folders are named by it."""
    name: str
    type: StepType = StepType.CONTAINER
    container: Container | None = None
    command: str = ""
    """Script of a `command` step, run by `/bin/sh -e`."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment of a `command` step (a container has its own)."""
    needs: tuple[str, ...] = ()
    """Names of the steps this one follows; the parser fills in the step above when absent."""
    condition: str = ""
    """The `if` expression without `${{ }}`; "" means `success()`."""
    always: bool = False
    continue_on_error: bool = False
    timeout_seconds: float | None = None
    retry: Retry = field(default_factory=Retry)
    outputs: tuple[str, ...] = ()
    """Declared output names; empty: any name may be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuRequest:
    """Whole devices (`count`; -1: all that suit, at least one) or a share of one (`vram_bytes`,
    `encoders`, `share` in 0..1)."""

    count: int = 0
    vram_bytes: int = 0
    encoders: int = 0
    share: float = 0.0
    models: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.count or self.vram_bytes or self.encoders or self.share)

    @property
    def least(self) -> int:
        """Devices that it is sure to be given."""
        return max(self.count, 0 if self.is_empty else 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What a pipeline asks for: cores, bytes, a GPU request, host ports (proto, port)."""

    cpu: float = 0.0
    memory_bytes: int = 0
    disk_bytes: int = 0
    gpu: GpuRequest = field(default_factory=GpuRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A required or forbidden match on a node's labels or facts."""

    key: str
    op: str
    """One of: in, not in, exists, not exists, >, <."""
    values: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A match that a node may miss, at a cost."""

    match: Match
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacementRequest:
    node: str = ""
    region: str = ""
    zone: str = ""
    match: tuple[Match, ...] = ()
    forbid: tuple[Match, ...] = ()
    prefer: tuple[Wish, ...] = ()
    spread: str = ""
    """`node`, `zone`, `region` or a label: pipelines of the same group are spread over its values;
    "": they are not."""
    spread_by: str = "template"
    """The group: `tenant` or `template`."""
    spread_most: int | None = None
    """As many of the group at one value, and no more; None: fewer are better, that is all."""
    player_region: str = ""
    max_latency_ms: float | None = None
    preemptible: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds; None: no limit."""

    pipeline_seconds: float | None = None
    """Whole run, from `pending` on."""
    queue_seconds: float | None = None
    """Wait for a placement."""
    step_seconds: float | None = None
    """Default for steps without their own."""
    grace_seconds: float | None = None
    """Between TERM and KILL; None: the service's setting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSpec:
    name: str
    steps: tuple[Step, ...]
    id: str = ""
    description: str = ""
    model: str = ""
    """Template that the pipeline was made from."""
    tenant: str = "default"
    priority: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    envs: tuple[Parameter, ...] = ()
    secrets: tuple[Parameter, ...] = ()
    args: tuple[Parameter, ...] = ()
    resources: Resources = field(default_factory=Resources)
    placement: PlacementRequest = field(default_factory=PlacementRequest)
    timeouts: Timeouts = field(default_factory=Timeouts)
    on_node_lost: OnNodeLost = OnNodeLost.FAIL


JsonObject = dict[str, Any]
