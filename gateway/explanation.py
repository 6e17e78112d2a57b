"""What REST says about placements: where pipelines go, why, and why not."""

from datetime import datetime
from typing import Any, Self

from pydantic import ConfigDict, Field

from gamepipe.model.forecast import Forecast, Refused
from gamepipe.model.state import PipelineState
from gateway import turn
from gateway.planning import Plan, Waiting, Why
from gateway.turn import TurnView
from gateway.view import StepView, VerdictView, View

_RANKED: list[dict[str, Any]] = [
    {"node_id": "n1", "cost": 0.105, "terms": {"packing": 0.005, "load": 0.1}},
    {"node_id": "n2", "cost": 0.208, "terms": {"packing": 0.008, "load": 0.2}},
]
_CHOICE: dict[str, Any] = {"nodes": 4, "candidates": 2, "ranked": _RANKED}
_REFUSAL: dict[str, Any] = {
    "summary": "none of 2 node(s) fits: 2 GPU_SHORT (node n1 has 0 of 1 GPU(s) free)",
    "causes": [
        {
            "code": "GPU_SHORT",
            "count": 2,
            "node_id": "n1",
            "message": "has 0 of 1 GPU(s) free",
        }
    ],
    "verdicts": [
        {"node_id": "n1", "code": "GPU_SHORT", "message": "has 0 of 1 GPU(s) free"},
        {"node_id": "n2", "code": "GPU_SHORT", "message": "has no GPU"},
    ],
    "remedies": [
        {
            "text": "free 1 GPU on n1",
            "changes": ["free 1 GPU on {node}"],
            "node_ids": ["n1"],
            "nodes": 1,
        }
    ],
    "closest": "",
}
_GENERATION: dict[str, Any] = {
    "number": 1,
    "node_id": "n1",
    "placed_at": "2026-11-24T10:00:00Z",
    "released_at": "2026-11-24T10:09:00Z",
    "explanation": _CHOICE,
    "preempted_for": "",
    "steps": [],
}


_PLACED: dict[str, Any] = {
    "state": "completed",
    "node_id": "n1",
    "generations": [_GENERATION],
    "waiting": False,
}
_WAITING: dict[str, Any] = _REFUSAL | {
    "state": "pending",
    "node_id": "",
    "generations": [],
    "waiting": True,
    "queued_at": "2026-11-24T10:00:00Z",
    "reason": "NO_CAPACITY",
    "priority": 0,
    "position": 1,
    "queue_length": 3,
    "turn": turn.EXAMPLE,
    "fits": "",
    "making_room": [{"pipeline_id": "p7", "generation": 1, "node_id": "n1"}],
}


class ScoredView(View):
    node_id: str
    cost: float = Field(description="The sum of its terms; the node with the least is chosen.")
    terms: dict[str, float] = Field(description="Weighted cost by term; docs/scheduling.md.")


class ChoiceView(View):
    """How a node was chosen, as it was decided."""

    nodes: int = Field(description="Of the whole fleet at that time.")
    candidates: int = Field(description="Those of them that fitted.")
    ranked: tuple[ScoredView, ...] = Field(description="The best of them; the first was chosen.")


class GenerationView(View):
    """One placement, with the steps that ran under it."""

    number: int
    node_id: str
    placed_at: datetime
    released_at: datetime | None
    explanation: ChoiceView | None = Field(
        description="How its node was chosen; null where that was not kept."
    )
    preempted_for: str = Field(
        default="", description="Id of the pipeline of a higher class that it made room for."
    )
    steps: tuple[StepView, ...]


class CauseView(View):
    """Nodes that the same thing rules out; the first thing of each node counts."""

    code: str
    count: int
    node_id: str = Field(description="One of them.")
    message: str = Field(description="What is said of that one.")


class RemedyView(View):
    """One change, or two together, with which it would fit."""

    text: str = Field(description="A sentence for people.")
    changes: tuple[str, ...] = Field(description="`{node}` stands for one of the nodes.")
    node_ids: tuple[str, ...] = Field(description="Nodes that would then fit, up to 50.")
    nodes: int = Field(description="How many would.")


class RefusalView(View):
    """Why it does not start."""

    summary: str = ""
    kept_node_id: str = Field(
        default="",
        description="It has waited for long: what it needs of this node is kept for it.",
    )
    causes: tuple[CauseView, ...] = Field(
        default=(), description="The most frequent first; the counts add up to the fleet."
    )
    verdicts: tuple[VerdictView, ...] = Field(
        default=(), description="Of the nodes, in order of ids; as many as were asked for."
    )
    remedies: tuple[RemedyView, ...] = Field(
        default=(), description="What would let it run, the smallest change first."
    )
    closest: str = Field(
        default="",
        description="Without a remedy: what is against the node that lacks the least.",
    )

    @classmethod
    def said(cls, refused: Refused | None, verdicts: int) -> dict[str, Any]:
        if refused is None:
            return {}
        said = RefusalView.model_validate(refused)
        return said.model_dump() | {"verdicts": said.verdicts[:verdicts]}


class MakingRoomView(View):
    """A pipeline of a lower class that was asked to make room, and has yet to leave."""

    pipeline_id: str
    generation: int
    node_id: str


class WhereView(View):
    """Where a pipeline runs, or its place in the queue."""

    state: PipelineState
    node_id: str
    generations: tuple[GenerationView, ...] = Field(description="Every placement, by number.")
    waiting: bool
    queued_at: datetime | None = None
    reason: str = Field(
        default="",
        description="NO_CAPACITY, or LIMIT_REACHED: then the summary has the limit, and the nodes "
        "are not why.",
    )
    priority: int | None = Field(default=None, description="Its class in the queue.")
    position: int | None = Field(
        default=None,
        description="From 1, by the order in which the queue is served; `turn` tells how.",
    )
    queue_length: int | None = None
    turn: TurnView | None = None
    fits: str = Field(
        default="", description="Id of a node that fits now: it waits for its turn only."
    )
    making_room: tuple[MakingRoomView, ...] = Field(
        default=(), description="Pipelines that it preempts: it waits until they have left."
    )


class PlacementView(RefusalView, WhereView):
    """Where a pipeline runs and why there, or why it waits."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                _PLACED,
                _WAITING,
            ]
        },
    )

    @classmethod
    def of(cls, why: Why, *, verdicts: int) -> Self:
        waiting = why.waiting
        return cls(
            state=why.record.state,
            node_id=why.record.node_id,
            generations=tuple(GenerationView.model_validate(one) for one in why.generations),
            waiting=waiting is not None,
            **(_waits(waiting, verdicts) if waiting else {}),
        )


def _waits(waiting: Waiting, verdicts: int) -> dict[str, Any]:
    forecast, entry = waiting.forecast, waiting.entry
    refused = forecast.refused
    return RefusalView.said(refused, verdicts) | {
        "queued_at": entry.queued_at,
        "reason": refused.reason if refused else entry.reason,
        "priority": entry.priority,
        "position": forecast.turn.position if forecast.turn else None,
        "queue_length": forecast.queue_length,
        "turn": TurnView.model_validate(forecast.turn) if forecast.turn else None,
        "fits": forecast.placed[0].node_id if forecast.placed else "",
        "making_room": tuple(MakingRoomView.model_validate(one) for one in waiting.making_room),
    }


class PlacedView(View):
    node_id: str
    count: int = Field(description="Copies that it takes.")


class PlanView(View):
    """What would become of copies of a pipeline that came now, one after the other: behind those
    who wait, by the limits, and beside what is reserved. Nothing is written."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "hello",
                    "asked": 3,
                    "fitting": 1,
                    "nodes": 2,
                    "queue_length": 2,
                    "served_before": 0,
                    "reason": "NO_CAPACITY",
                    "turn": turn.EXAMPLE,
                    "placed": [{"node_id": "n1", "count": 1}],
                    "first": _CHOICE,
                    "refused": _REFUSAL,
                }
            ]
        },
    )

    name: str
    asked: int = Field(description="Copies that were asked for.")
    fitting: int = Field(description="Copies that start now; the others wait.")
    nodes: int = Field(description="Of the whole fleet.")
    queue_length: int = Field(description="Pipelines that wait already.")
    served_before: int = Field(description="Those of them that would be given a node first.")
    reason: str = Field(
        default="",
        description="What stops the next copy: NO_CAPACITY, or LIMIT_REACHED: then its summary has "
        "the limit, and the nodes are not why.",
    )
    turn: TurnView | None = Field(
        default=None, description="The place in the queue of the first copy that waits."
    )
    placed: tuple[PlacedView, ...] = Field(
        description="In the order in which the nodes are first chosen."
    )
    first: ChoiceView | None = Field(description="How the node of the first copy is chosen.")
    refused: RefusalView | None = Field(
        description="What stops the next copy; null: all that were asked for start."
    )

    @classmethod
    def of(cls, plan: Plan, *, verdicts: int) -> Self:
        forecast: Forecast = plan.forecast
        refused = RefusalView.said(forecast.refused, verdicts)
        return cls(
            name=plan.name,
            asked=forecast.asked,
            fitting=forecast.fitting,
            nodes=forecast.nodes,
            queue_length=forecast.queue_length,
            served_before=forecast.served_before,
            reason=forecast.refused.reason if forecast.refused else "",
            turn=TurnView.model_validate(forecast.turn) if forecast.turn else None,
            placed=tuple(PlacedView.model_validate(one) for one in forecast.placed),
            first=ChoiceView.model_validate(forecast.first) if forecast.first else None,
            refused=RefusalView(**refused) if refused else None,
        )
