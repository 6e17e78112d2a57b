"""Settings of the agent, from the command line or the environment (`GAMEPIPE_AGENT_...`)."""

import json
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gamepipe.agent.probe import ProbeTarget, parse_target
from gamepipe.logs import LogLevel
from gamepipe.model.node import Location

MOST_REGIONS = 100
"""Of round trips in one report."""
_NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _default_data_dir() -> Path:
    """Where the system keeps such things: for all users as root, else for this one."""
    if os.geteuid() == 0:
        return Path("/var/lib/gamepipe/agent")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "gamepipe-agent"  # `gamepipe up` has its own agent in `gamepipe/agent`


class AgentSettings(BaseSettings):
    """One object, built in `main()` and passed down. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="GAMEPIPE_AGENT_", extra="ignore")

    node_id: str = Field(default_factory=socket.gethostname)
    transport: Literal["temporal", "grpc"] = "temporal"
    """How steps come: as a Temporal worker, or down the stream of a gateway."""
    gateways: Annotated[tuple[str, ...], NoDecode] = ("127.0.0.1:50061",)
    """`host:port`, the next one is tried when one does not answer; commas in the environment."""
    temporal_address: str = ""
    """Empty: what the gateway says at registration."""
    temporal_namespace: str = ""
    data_dir: Path = Field(default_factory=_default_data_dir)
    """The same wherever the agent is started from, or it would not find what it runs."""
    allow_commands: bool = False
    """Run `command` steps: any script of anyone who may create pipelines, as this user."""
    facts: Path | None = None
    """YAML or JSON file whose fields replace the detected facts."""
    labels: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    location: Annotated[Location, NoDecode] = Field(default_factory=Location)
    docker_url: str = Field(
        default_factory=lambda: os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    )
    """Empty: run no containers."""
    token_file: Path | None = None
    """Bearer token for the gateway."""
    max_steps: int = Field(default=32, ge=1)
    """Steps that run at the same time; others wait."""
    node_ttl: float | None = Field(default=None, gt=0)
    """Silence after which steps of `on_node_lost: reschedule` are stopped; None: the gateway's."""
    heartbeat_interval: float | None = Field(default=None, gt=0)
    """None: the gateway's."""
    probes: Annotated[tuple[ProbeTarget, ...], NoDecode] = ()
    """Where to measure round trips to, as `REGION=HOST:PORT`; commas in the environment."""
    probe_interval: float = Field(default=300.0, gt=0)
    """About so often."""
    service_up_after: float = Field(default=3.0, ge=0)
    """How long a service without a health check must run to count as up."""
    stop_grace: float = Field(default=10.0, ge=0)
    """Between TERM and KILL when a stored stop order is carried out."""
    log_level: LogLevel = "INFO"

    @field_validator("gateways", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if not value:
            raise ValueError("name at least one gateway, as host:port")
        return value

    @field_validator("probes", mode="before")
    @classmethod
    def _parse_probes(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if not isinstance(value, tuple | list):
            return value
        targets = [parse_target(one) if isinstance(one, str) else one for one in value]
        if len({target.region for target in targets}) > MOST_REGIONS:
            raise ValueError(f"name at most {MOST_REGIONS} regions")
        return tuple(targets)

    @field_validator("labels", "location", mode="before")
    @classmethod
    def _decode(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return {**json.loads(value)}
        except (ValueError, TypeError):
            raise ValueError(f'{value!r} is no JSON object: write {{"NAME": "VALUE"}}') from None

    @field_validator("node_id")
    @classmethod
    def _check_node_id(cls, value: str) -> str:
        if not _NODE_ID.fullmatch(value):
            raise ValueError(
                f"{value!r} is no node id: use letters, digits, `.`, `_` and `-`, at most 63, "
                "beginning with a letter or digit"
            )
        return value

    def token(self) -> SecretStr | None:
        """The bearer token, read anew so that a rotated file counts; None when none is set."""
        if self.token_file is None:
            return None
        return SecretStr(self.token_file.read_text(encoding="utf-8").strip())
