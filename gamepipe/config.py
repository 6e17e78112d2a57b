"""One `Settings` object, built in `main()` and passed down; environment prefix `GAMEPIPE_`."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gamepipe.logs import LogLevel
from gamepipe.model.errors import InvalidRequest
from gamepipe.named import Named
from gamepipe.quota import checked_limits, checked_weights
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.policy import Capacity, Policy, Weights
from gamepipe.wire import RunSettings


def _seconds(value: Any) -> Any:
    """A plain number, as environments hold it, is seconds; `P30D` and `00:05:00` work too."""
    with suppress(TypeError, ValueError):
        return timedelta(seconds=float(value))
    return value


Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta())]
PortNumber = Annotated[int, Field(ge=0, le=65535)]
PREFIX = "GAMEPIPE_"


def is_address(text: str) -> bool:
    """Whether it is host:port."""
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname and parts.port and parts.netloc == text)
    except ValueError:
        return False


class Settings(BaseSettings):
    """Settings of gateway and worker. Durations are seconds in the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    store_url: str = "sqlite:///gamepipe.db"
    """`sqlite:///path` or `postgresql://user:password@host:port/database`."""
    temporal_address: str = "127.0.0.1:7233"
    temporal_address_for_agents: str = ""
    """Where agents reach Temporal; empty: at `temporal_address`."""
    temporal_namespace: str = "default"
    temporal_ui_url: str = "http://127.0.0.1:8233"
    rest_host: str = "127.0.0.1"
    rest_port: PortNumber = 8080
    grpc_host: str = "127.0.0.1"
    grpc_port: PortNumber = 50061
    token_file: Path | None = None
    """Bearer token for REST, gRPC and agents; needed to bind another address than loopback."""
    insecure: bool = False
    node_ttl: Duration = timedelta(seconds=30)
    """Silence after which a node may be lost."""
    heartbeat_timeout: Duration = timedelta(seconds=30)
    schedule_to_start: Duration = timedelta(seconds=60)
    grace: Duration = timedelta(seconds=10)
    sweep_interval: Duration = timedelta(seconds=5)
    retention: Duration = timedelta(days=30)
    """Terminal pipelines older than this are removed with their logs."""
    tenant_weights: Annotated[dict[str, Any], BeforeValidator(checked_weights)] = {}
    """Of the shares of tenants in the queue; `*`: of all others."""
    limits: Annotated[dict[str, dict[str, int]], BeforeValidator(checked_limits)] = {}
    """Pipelines that may be placed at a time, by `tenant`, `template` or `label:KEY`, and name."""
    longest_queue: Annotated[int, Field(ge=1)] | None = None
    """Pipelines of one tenant that may wait."""
    reserve_after: Duration = timedelta(minutes=5)
    """Wait behind which a pipeline that fits nowhere reserves room on a node."""
    reservations: Annotated[int, Field(ge=0)] = 2
    """Pipelines that reserve at a time, at most."""
    preemption: bool = True
    """A pipeline that fits nowhere may take the place of preemptible ones of a lower class."""
    weights: Annotated[Weights, BeforeValidator(Named(Weights))] = Weights()
    """Of the terms of a placement's score."""
    template_weights: Annotated[
        dict[str, dict[str, float]], BeforeValidator(Named(Weights, each=True))
    ] = {}
    """By template those that differ from `weights`."""
    capacity: Annotated[Capacity, BeforeValidator(Named(Capacity, low=0))] = Capacity()
    """What of each node is sold."""
    log_level: LogLevel = "INFO"

    @field_validator("temporal_address", "temporal_address_for_agents")
    @classmethod
    def _host_and_port(cls, address: str) -> str:
        if address and not is_address(address):
            raise ValueError("must be host:port")
        return address

    def run_settings(self) -> RunSettings:
        """What a run keeps for its whole life."""
        return RunSettings(
            heartbeat_seconds=self.heartbeat_timeout.total_seconds(),
            schedule_to_start_seconds=self.schedule_to_start.total_seconds(),
            node_ttl_seconds=self.node_ttl.total_seconds(),
            grace_seconds=self.grace.total_seconds(),
        )

    def order(self) -> OrderPolicy:
        """By what the queue is served."""
        return OrderPolicy(
            tenant_weights=self.tenant_weights,
            limits=Limits(most=self.limits),
            longest_queue=self.longest_queue,
            reserve_after=self.reserve_after,
            reservations=self.reservations,
            preemption=self.preemption,
            patience=max(OrderPolicy().patience, 2 * self.grace),
        )

    def policy(self) -> Policy:
        """What placements are decided by."""
        templates = {
            template: replace(self.weights, **changes)
            for template, changes in self.template_weights.items()
        }
        return Policy(weights=self.weights, capacity=self.capacity, templates=templates)

    @property
    def workflow_base(self) -> str:
        """Where Temporal's Web UI shows workflows."""
        return f"{self.temporal_ui_url}/namespaces/{self.temporal_namespace}/workflows"

    def token(self) -> SecretStr | None:
        """The bearer token, read anew so that a rotated file counts; None when none is set.

        Raises `InvalidRequest` for a file that holds none: nothing is open by mistake.
        """
        if self.token_file is None:
            return None
        remedy = f"write the bearer token to it, or correct {PREFIX}TOKEN_FILE"
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidRequest(
                f"the token file {self.token_file} cannot be read ({why}): {remedy}"
            ) from None
        if not token:
            raise InvalidRequest(f"the token file {self.token_file} is empty: {remedy}")
        return SecretStr(token)
