"""What workflows and the activities on the control queue exchange."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gamepipe.model.reason import NO_CAPACITY
from gamepipe.model.record import Instance, PipelineEvent, Progress, StepRecord
from gamepipe.model.spec import PipelineSpec
from gamepipe.model.state import PipelineState
from gamepipe.wire.run import Placement


@dataclass(frozen=True, kw_only=True)
class SaveRequest:
    """One save: what changed since the last acknowledged revision.

    Guard: `incarnation` must be the row's (else DELETED), `run_id` must own the row (or follow the
    run that does, `previous_run_id`), `revision` must be above the stored one. Events are inserted
    by (pipeline, run, number) whichever run owns the row.
    """

    pipeline_id: str
    incarnation: str = ""
    run_id: str
    previous_run_id: str = ""
    revision: int
    state: PipelineState
    reason: str = ""
    message: str = ""
    generation: int = 0
    node_id: str = ""
    progress: Progress = field(default_factory=Progress)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    steps: tuple[StepRecord, ...] = ()
    """Only those that changed, unless `complete`."""
    complete: bool = False
    """`steps` are all steps of the generation."""
    events: tuple[PipelineEvent, ...] = ()
    instances: tuple[Instance, ...] = ()
    """Services that came up or were stopped, inserted or updated by id."""
    release: bool = False
    """Release the generation's allocation, unless a live instance still holds it."""
    hold_for_node: bool = False
    """With `release`: the node is unreachable; store a stop order and hold the allocation until
    the node confirms it or is lost."""
    stop_steps: tuple[int, ...] = ()
    """With `release`: steps whose stop the node did not confirm, beside a game that lives on; store
    a stop order for each."""


class SaveStatus(StrEnum):
    SAVED = "saved"
    STALE_RUN = "stale_run"
    """Another run owns the row."""
    INCOMPLETE = "incomplete"
    """The run took the row over from another one: nothing of its state was written, it must send
    every step (`complete`)."""
    CLOSED = "closed"
    """The row was terminal already; nothing but missing events was written."""
    DELETED = "deleted"
    """The row is gone; one of the same id that was made since is another pipeline's."""


@dataclass(frozen=True, kw_only=True)
class SaveAck:
    status: SaveStatus
    state: PipelineState | None = None
    """The row's state when CLOSED."""


@dataclass(frozen=True, kw_only=True)
class PlaceRequest:
    """Input of `place_pipeline`, keyed by (pipeline, generation): repeated, it gets the answer
    that stands. `saved` is written in the same transaction in any case (pending), `placed` when
    there is room (running; the node is filled in)."""

    pipeline_id: str
    generation: int
    run_id: str
    definition_revision: int
    saved: SaveRequest
    placed: SaveRequest
    avoid: tuple[str, ...] = ()
    """Nodes that lost an earlier generation: chosen only when nothing else fits."""


class PlaceStatus(StrEnum):
    PLACED = "placed"
    QUEUED = "queued"
    CLOSED = "closed"
    """The row is terminal or deleted, or another run owns it."""
    INCOMPLETE = "incomplete"
    """See `SaveStatus`; it is about `saved`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferMade:
    """An allocation that was written for a queued pipeline; its workflow must be signalled."""

    pipeline_id: str
    generation: int
    node_id: str


@dataclass(frozen=True, kw_only=True)
class RoomAsked:
    """A pipeline of a lower class that is to make room; its workflow is sent `preempt`."""

    pipeline_id: str
    generation: int
    node_id: str
    for_pipeline: str
    """Id of the pipeline that waits for it."""


Notice = OfferMade | RoomAsked
"""What a pass over the queue came to, for the workflow that it is about to hear of it."""


@dataclass(frozen=True, kw_only=True)
class PlaceAnswer:
    status: PlaceStatus
    placement: Placement | None = None
    summary: str = ""
    """Why it waits, for people."""
    reason: str = NO_CAPACITY
    """The code of that: NO_CAPACITY or LIMIT_REACHED."""
    definition: PipelineSpec | None = None
    """Set when the definition changed since the workflow's revision."""
    definition_revision: int = 1
    args: dict[str, str] = field(default_factory=dict)
    """With `definition`, like the names below."""
    env_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
    """To others that were served first, and to those that have yet to make room for it or for them:
    the activity sends them, and its workflow sees none."""


@dataclass(frozen=True, kw_only=True)
class CleanUp:
    """Input of the workflow `Retention` and of `clean_up_pipelines`."""

    retention_seconds: float
    batch: int = 200


@dataclass(frozen=True, kw_only=True)
class WithdrawRequest:
    """Input of `withdraw_placement`: leave the queue and release an offer, if one stands. A run of
    another incarnation withdraws nothing."""

    pipeline_id: str
    incarnation: str = ""
    generation: int
