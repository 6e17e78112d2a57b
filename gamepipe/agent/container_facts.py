"""What the engine says about a container, and the names and labels by which ours are found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import StepType

LABEL_PIPELINE = "gamepipe.pipeline"
LABEL_GENERATION = "gamepipe.generation"
LABEL_STEP = "gamepipe.step"
LABEL_ATTEMPT = "gamepipe.attempt"
LABEL_NODE = "gamepipe.node"
LABEL_TYPE = "gamepipe.type"
SERVICE_LABELS = {LABEL_TYPE: str(StepType.SERVICE)}
_CHECK_BYTES = 4096
"""The engine keeps no more of what a health check printed, and puts an ellipsis behind it."""
_NEVER = 1
"""The year of Go's zero time."""


def container_name(key: AttemptKey) -> str:
    return f"gamepipe-{key.pipeline_id}-g{key.generation}-s{key.step_index}-a{key.attempt}"


def generation_labels(pipeline_id: str, generation: int, node_id: str) -> dict[str, str]:
    return {
        LABEL_PIPELINE: pipeline_id,
        LABEL_GENERATION: str(generation),
        LABEL_NODE: node_id,
    }


def step_labels(pipeline_id: str, generation: int, step_index: int, node_id: str) -> dict[str, str]:
    return {
        **generation_labels(pipeline_id, generation, node_id),
        LABEL_STEP: str(step_index),
    }


def attempt_labels(key: AttemptKey, node_id: str) -> dict[str, str]:
    """Labels that tell one attempt of one node from every other."""
    return {
        **step_labels(key.pipeline_id, key.generation, key.step_index, node_id),
        LABEL_ATTEMPT: str(key.attempt),
    }


def attempt_key(labels: Mapping[str, str]) -> AttemptKey:
    """The attempt that bears these labels."""
    return AttemptKey(
        pipeline_id=labels[LABEL_PIPELINE],
        generation=int(labels[LABEL_GENERATION]),
        step_index=int(labels[LABEL_STEP]),
        attempt=int(labels[LABEL_ATTEMPT]),
    )


def parse_time(text: str) -> datetime | None:
    """RFC 3339 with up to nine digits; None for Go's zero time."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return None if moment.year == _NEVER else moment


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerSummary:
    """A container in a list."""

    id: str
    state: str
    labels: Mapping[str, str]

    @property
    def is_service(self) -> bool:
        return self.labels.get(LABEL_TYPE) == StepType.SERVICE

    @property
    def step_index(self) -> int:
        return int(self.labels.get(LABEL_STEP, "-1"))

    @property
    def attempt(self) -> int:
        return int(self.labels.get(LABEL_ATTEMPT, "0"))

    @property
    def is_running(self) -> bool:
        return self.state in {"running", "paused", "restarting"}

    @classmethod
    def from_list(cls, item: Mapping[str, Any]) -> "ContainerSummary":
        return cls(id=item["Id"], state=item.get("State", ""), labels=item.get("Labels") or {})


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerFacts:
    """A container as inspected."""

    id: str
    name: str
    labels: Mapping[str, str]
    is_running: bool
    is_paused: bool
    exit_code: int
    oom_killed: bool
    error: str
    started_at: datetime | None
    """None: it was created, but never started."""
    ended_at: datetime | None
    health: str
    """healthy, unhealthy, starting; "" without a health check."""
    health_output: str
    """What the last health check printed."""
    health_output_is_cut: bool
    """The engine kept only the beginning of it."""
    stop_signal: str
    ports: dict[str, str] = field(default_factory=dict)
    """`8080/tcp` -> `0.0.0.0:32768`."""

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        return all(self.labels.get(name) == value for name, value in labels.items())

    def is_coming_up(self, *, after: timedelta, now: datetime) -> bool:
        """Of a service: it has ended, or has not been up yet."""
        if not self.is_running or self.started_at is None:
            return True
        return self.health == "starting" or (not self.health and now - self.started_at < after)

    @property
    def end_description(self) -> str:
        """How it ended, in a few words."""
        if self.oom_killed:
            return f"exit code {self.exit_code}: killed, it used more memory than its limit"
        return f"exit code {self.exit_code}{f': {self.error}' if self.error else ''}"

    @classmethod
    def from_inspect(cls, answer: Mapping[str, Any]) -> "ContainerFacts":
        state, config = answer["State"], answer["Config"]
        health = state.get("Health") or {}
        status = health.get("Status", "")
        outputs = [check.get("Output", "") for check in health.get("Log") or ()]
        printed, is_cut = _printed(outputs[-1] if outputs else "")
        started_at, ended_at = parse_time(state["StartedAt"]), parse_time(state["FinishedAt"])
        if started_at and ended_at:  # the engine notes a start after it: a short life may be over
            ended_at = max(started_at, ended_at)
        return cls(
            id=answer["Id"],
            name=answer["Name"].removeprefix("/"),
            labels=config.get("Labels") or {},
            is_running=state["Running"],
            is_paused=state.get("Paused", False),
            exit_code=state["ExitCode"],
            oom_killed=state.get("OOMKilled", False),
            error=state.get("Error", ""),
            started_at=started_at,
            ended_at=ended_at,
            health="" if status == "none" else status,
            health_output=printed,
            health_output_is_cut=is_cut,
            stop_signal=config.get("StopSignal") or "SIGTERM",
            ports=_ports(answer.get("NetworkSettings", {}).get("Ports") or {}),
        )


def _printed(output: str) -> tuple[str, bool]:
    """What a health check printed, and whether that is only its beginning."""
    if len(output.encode()) < _CHECK_BYTES or not output.endswith("..."):
        return output.strip(), False
    # The engine may have cut in the middle of a character.
    return output.removesuffix("...").rstrip("\ufffd").lstrip(), True


def _ports(published: Mapping[str, list[dict[str, str]] | None]) -> dict[str, str]:
    """The first binding of each port (the second one is the same for IPv6)."""
    return {
        inside: _address(bindings[0]["HostIp"], bindings[0]["HostPort"])
        for inside, bindings in published.items()
        if bindings
    }


def _address(host_ip: str, port: str) -> str:
    return f"[{host_ip}]:{port}" if ":" in host_ip else f"{host_ip}:{port}"
