"""What REST answers: plain models made from the store's records; no value of an env or secret.

The fleet's are in `gateway.fleet_view`.
"""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from gamepipe.definition.codec import encode_spec
from gamepipe.model.record import GenerationRecord, PipelineRecord, QueueEntry
from gamepipe.model.state import PipelineState, StepState
from gamepipe.ports import PipelinePage
from gamepipe.wire import workflow_id


class View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ProgressView(View):
    ended: int = Field(description="Steps that have ended.")
    total: int = Field(description="Steps in all.")
    current: tuple[str, ...] = Field(description="Names of the steps that run now.")
    percent: float = Field(description="0 to 100; running steps count by their own progress.")


class StepView(View):
    index: int
    name: str
    generation: int
    state: StepState
    attempt: int = Field(description="The current or last attempt; 0: none yet.")
    reason: str
    message: str
    exit_code: int | None
    percent: float | None
    started_at: datetime | None
    ended_at: datetime | None
    outputs: dict[str, str]
    log_lines: int = Field(description="Lines of the last ended attempt.")


class PipelineSummary(View):
    """A pipeline in a list."""

    id: str
    name: str
    tenant: str
    labels: dict[str, str]
    priority: int
    state: PipelineState
    reason: str
    message: str
    node_id: str
    generation: int
    progress: ProgressView
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "hello-3f9a1c20d4",
                    "name": "hello",
                    "tenant": "default",
                    "labels": {},
                    "priority": 0,
                    "state": "running",
                    "reason": "",
                    "message": "",
                    "node_id": "node-241",
                    "generation": 1,
                    "progress": {"ended": 1, "total": 3, "current": ["unpack"], "percent": 33.3},
                    "created_at": "2026-11-24T10:00:00Z",
                    "updated_at": "2026-11-24T10:00:02Z",
                    "started_at": "2026-11-24T10:00:00Z",
                    "ended_at": None,
                }
            ]
        },
    )


class PipelineView(PipelineSummary):
    """A pipeline with its steps and its definition."""

    args: dict[str, str]
    env_names: tuple[str, ...] = Field(description="Envs that have a value; values stay hidden.")
    secret_names: tuple[str, ...]
    definition_revision: int
    steps: tuple[StepView, ...] = Field(description="Of the current generation.")
    definition: dict[str, Any]
    workflow_url: str = Field(description="The run in Temporal's Web UI.")

    @classmethod
    def of(cls, record: PipelineRecord, workflow_base: str) -> Self:
        facts = {name: getattr(record, name) for name in _same(cls, record)}
        return cls.model_validate(
            facts
            | {
                "definition": encode_spec(record.spec),
                "workflow_url": f"{workflow_base}/{workflow_id(record.id)}",
            }
        )


def _same(view: type[BaseModel], record: object) -> list[str]:
    return [name for name in view.model_fields if hasattr(record, name)]


class PipelineListView(View):
    items: tuple[PipelineSummary, ...]
    total: int = Field(description="Matching pipelines on all pages.")
    page: int
    size: int

    @classmethod
    def of(cls, page: PipelinePage) -> Self:
        return cls.model_validate(page)


class GenerationView(View):
    """One placement, with the steps that ran under it."""

    number: int
    node_id: str
    placed_at: datetime
    released_at: datetime | None
    steps: tuple[StepView, ...]

    @classmethod
    def of(cls, record: GenerationRecord) -> Self:
        return cls.model_validate(record)


class VerdictView(View):
    node_id: str
    code: str = Field(examples=["GPU_SHORT"])
    message: str = Field(examples=["has 0 of 1 GPU(s) free"])


class PlacementView(View):
    """Where a pipeline runs, or why it waits."""

    state: PipelineState
    node_id: str
    generations: tuple[GenerationView, ...]
    waiting: bool
    summary: str = ""
    verdicts: tuple[VerdictView, ...] = ()

    @classmethod
    def of(
        cls,
        record: PipelineRecord,
        generations: tuple[GenerationRecord, ...],
        entry: QueueEntry | None,
    ) -> Self:
        return cls(
            state=record.state,
            node_id=record.node_id,
            generations=tuple(GenerationView.of(one) for one in generations),
            waiting=entry is not None,
            summary=entry.summary if entry else "",
            verdicts=tuple(VerdictView.model_validate(v) for v in entry.verdicts) if entry else (),
        )


class EventView(View):
    id: int = Field(description="Orders all events; resume behind it.")
    kind: str
    at: datetime
    pipeline_id: str
    node_id: str
    instance_id: str
    number: int | None
    data: dict[str, Any]
