"""The repositories, and the store that holds them."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from gamepipe.logchunk import LogChunk
from gamepipe.model.node import GameNode, NodeMetrics
from gamepipe.model.record import (
    AttemptKey,
    EventKind,
    GenerationRecord,
    Instance,
    LogLine,
    NewPipeline,
    PipelineRecord,
    StopOrder,
    StoredEvent,
)
from gamepipe.model.state import Connectivity, InstanceState, NodeState, PipelineState
from gamepipe.ports.latency import LatencyRepository
from gamepipe.ports.placement import PlacementRepository
from gamepipe.ports.value import (
    LogQuery,
    LogStanding,
    LogTail,
    MetricsReport,
    NodeChange,
    NodeMark,
    NodeSession,
    PipelineChange,
    PipelineFilter,
    PipelinePage,
    Registration,
)
from gamepipe.ports.wakeup import Wakeup
from gamepipe.wire import Notice, SaveAck, SaveRequest


class PipelineRepository(Protocol):
    async def add(self, new: NewPipeline, *, now: datetime) -> tuple[PipelineRecord, bool]:
        """Store as `not_started`; (record, True) when created, (existing, False) when the same id
        with the same `content_digest` is there. Raises `AlreadyExists` for other content, and
        `QueueFull` when as many of its tenant wait as may."""

    async def get(self, pipeline_id: str) -> PipelineRecord:
        """Raises `NotFound`; a deleted pipeline is not found."""

    async def list(self, query: PipelineFilter) -> PipelinePage: ...

    async def generations(self, pipeline_id: str) -> tuple[GenerationRecord, ...]:
        """Every generation by number, earlier ones included."""

    async def update(
        self, pipeline_id: str, change: PipelineChange, *, now: datetime
    ) -> tuple[PipelineRecord, tuple[Notice, ...]]:
        """Apply under the placement lock. A definition after a committed placement (or in a
        terminal state) raises `IllegalTransition`. A changed definition or priority of a queued
        pipeline is placed anew in the same transaction: offers may follow."""

    async def update_status(
        self,
        pipeline_id: str,
        state: PipelineState,
        *,
        reason: str,
        message: str,
        now: datetime,
        run_id: str | None = None,
    ) -> tuple[PipelineRecord, tuple[Notice, ...]]:
        """The sweep's verdict where the workflow cannot speak (WORKFLOW_LOST ...): running steps
        fail, pending ones are skipped, the allocation is released, stop orders are stored for the
        node. With `run_id`: only while that run owns the row (else `RevisionConflict`).
        A terminal row is left alone. An illegal transition raises `IllegalTransition`."""

    async def save(
        self, request: SaveRequest, *, now: datetime
    ) -> tuple[SaveAck, tuple[Notice, ...]]:
        """See `SaveRequest`; never creates a row, never changes a terminal or deleted one."""

    async def take_over(self, pipeline_id: str, *, run_id: str, now: datetime) -> None:
        """A reset or continued run becomes the owner: its saves count from revision 0. The first of
        them sets steps back that this run has not come to, and stops and releases what other
        generations hold (one event PIPELINE_RESET)."""

    async def mark_started(self, pipeline_id: str, *, run_id: str) -> None:
        """Remember the run that was started for a row without one."""

    async def list_live(self) -> tuple[PipelineRecord, ...]:
        """Every pipeline that is not terminal (for the sweep), oldest first. A row that cannot be
        read is logged and passed over."""

    async def delete(
        self, pipeline_id: str, *, force: bool = False, incarnation: str = "", now: datetime
    ) -> tuple[Notice, ...]:
        """Remove a terminal pipeline with its logs, steps and values; its events stay and
        PIPELINE_DELETED follows them. Raises `IllegalTransition` while it is live (unless `force`:
        also a live row goes; the caller canceled it before) or has a live instance (always), and
        `NotFound` when an `incarnation` is named and the id is another one's by now."""

    async def cleanup(self, *, ended_before: datetime, limit: int, now: datetime) -> int:
        """Delete up to `limit` terminal pipelines without a live instance; the number deleted."""

    async def step_values(
        self, pipeline_id: str, *, generation: int, step_index: int, attempt: int, node_id: str
    ) -> tuple[dict[str, str], dict[str, str]]:
        """(envs, secrets) that the step names. Raises `Forbidden` unless the node holds the live
        allocation of that generation."""


class NodeRepository(Protocol):
    async def register(self, registration: Registration, *, now: datetime) -> GameNode:
        """Insert or refresh, with the next session number and its key; the nonce of the newest
        session is answered with that session. Alias and state are people's; labels and location are
        the agent's until people set them. Offers are the caller's next step."""

    async def connect(self, session: NodeSession, *, now: datetime) -> GameNode:
        """A stream of that session has come: the node with the number of this newest stream.
        Raises as `check_session` does."""

    async def check_session(self, session: NodeSession) -> None:
        """Whether it is the node's newest. Raises `NotFound`, `LeaseLost` when a newer session has
        registered, `Forbidden` without the key, and `SessionUnknown` when the store has never
        issued it (it was restored from a backup)."""

    async def take_state(
        self, node_id: str, session: int, state: NodeState, *, now: datetime
    ) -> None:
        """The agent of that session acts by this state; a superseded one has no say."""

    async def marks(self) -> dict[str, NodeMark]:
        """Of every node, by id."""

    async def heartbeat(
        self,
        beats: Sequence[tuple[str, int, NodeMetrics]],
        *,
        now: datetime,
        reports: Sequence[MetricsReport] = (),
    ) -> tuple[str, ...]:
        """(node id, session, metrics) in one batch, and what nodes measured beside that, which is
        no sign of life; the ids of which nothing is stored, for their session is not the newest."""

    async def get(self, node_id: str) -> GameNode:
        """Raises `NotFound`."""

    async def list(self) -> tuple[GameNode, ...]: ...

    async def update(self, node_id: str, change: NodeChange, *, now: datetime) -> GameNode:
        """Raises `IllegalTransition` for disabled -> maintenance. Offers of a node that takes
        nothing new any more go back to the queue, or to other nodes: the sweep sends those."""

    async def mark(self, node_id: str, connectivity: Connectivity, *, now: datetime) -> GameNode:
        """Observed connectivity; lost releases allocations held for an unconfirmed stop and marks
        the node's live instances lost. A node that comes back takes nothing new before it has
        accounted for each of them. Offers go back to the queue, or to other nodes."""

    async def stop_orders(self, node_id: str) -> tuple[StopOrder, ...]: ...

    async def confirm_stop(
        self, order_id: int, *, node_id: str, now: datetime
    ) -> tuple[Notice, ...]:
        """The node carried it out: the order goes, what it held is released. Idempotent; an order
        that was given to another node stays."""

    async def gateway_beat(
        self,
        gateway_id: str,
        *,
        started_at: datetime,
        ttl: timedelta,
        now: datetime,
        reaches_temporal: bool = True,
    ) -> bool:
        """A gateway hears. One whose beats were interrupted for half a TTL (it, or the store, was
        away) counts as started now: it could not have told of any heartbeat. Whether another one
        that hears now reaches Temporal."""

    async def forget_gateways(self, *, silent_since: datetime) -> None:
        """Those whose last beat is older are gone for good."""

    async def gateways(self) -> tuple[tuple[str, datetime, datetime], ...]:
        """(gateway id, hears without interruption since, last beat at)."""


class InstanceRepository(Protocol):
    async def get(self, instance_id: str) -> Instance:
        """Raises `NotFound`."""

    async def list(
        self, *, node_id: str = "", pipeline_id: str = "", live_only: bool = False
    ) -> tuple[Instance, ...]: ...

    async def expected_on(self, node_id: str) -> tuple[Instance, ...]:
        """Those that the node must report on: live ones, and those that were lost with it and that
        it has not accounted for since it came back."""

    async def observe(
        self,
        instance_id: str,
        state: InstanceState,
        *,
        now: datetime,
        exit_code: int | None = None,
        reason: str = "",
        message: str = "",
    ) -> tuple[Instance, tuple[Notice, ...]]:
        """Record a transition with its event; an end releases the allocation when no live
        instance and no live pipeline holds it. The present state again is no change. An
        observation of an ended instance changes nothing; but one that was lost with its node, and
        that the returned node sees alive, is alive again with its allocation, if its generation is
        the newest of a pipeline that completed or goes on. Else a stop order for it is stored."""


class LogRepository(Protocol):
    async def append(self, chunks: Sequence[LogChunk]) -> tuple[int, ...]:
        """Store each line once (a resend is trimmed by number); the last stored number behind each
        chunk.
        A chunk that begins behind a gap is not stored: the answer says where to resume. Lines of
        a new series follow those stored before; lines of an earlier series, of a pipeline that is
        gone, and from a node that does not hold its generation, are acknowledged and dropped."""

    def read(self, query: LogQuery) -> AsyncIterator[tuple[AttemptKey, LogLine]]: ...

    async def tails(self, pipeline_id: str) -> dict[AttemptKey, LogTail]:
        """Of every attempt that has lines, in the order of reading."""

    async def standing(self, pipeline_id: str) -> LogStanding:
        """Raises `NotFound`."""


class EventRepository(Protocol):
    async def read(
        self,
        *,
        after_id: int = 0,
        pipeline_id: str = "",
        kinds: tuple[EventKind, ...] = (),
        limit: int = 1000,
    ) -> tuple[StoredEvent, ...]:
        """In id order; an event is readable only when every lower id is, so resume has no gap."""

    async def last_id(self) -> int: ...

    async def cleanup(self, *, before: datetime, limit: int) -> int:
        """Remove up to `limit` of the oldest events, as far as they happened before; the number
        removed. A reader whose last event is gone goes on behind it."""


class Store(Protocol):
    """What `GamePipelineStore` offers."""

    @property
    def pipelines(self) -> PipelineRepository: ...
    @property
    def placements(self) -> PlacementRepository: ...
    @property
    def nodes(self) -> NodeRepository: ...
    @property
    def latencies(self) -> LatencyRepository: ...
    @property
    def instances(self) -> InstanceRepository: ...
    @property
    def logs(self) -> LogRepository: ...
    @property
    def events(self) -> EventRepository: ...

    def wakeup(self) -> Wakeup:
        """A new subscription; several processes may write (LISTEN/NOTIFY, data_version)."""

    async def ping(self) -> None:
        """Raises `StoreUnavailable`."""

    async def lease(self, name: str, holder: str, *, ttl: timedelta, now: datetime) -> bool:
        """Take or renew the lease `name`; whether `holder` has it now. An expired one is free."""

    async def secret(self, name: str, *, fresh: str) -> str:
        """The secret that all gateways share under that name; `fresh` if there is none yet."""

    async def close(self) -> None: ...
