"""What REST says of a forecast: where copies of a pipeline would go, why there, and why not."""

from typing import Any, Self

from pydantic import ConfigDict, Field

from gamepipe.model.forecast import Forecast, Refused
from gateway import turn
from gateway.planning import Plan
from gateway.turn import TurnView
from gateway.view import VerdictView, View

_RANKED: list[dict[str, Any]] = [
    {"node_id": "n1", "cost": 0.105, "terms": {"packing": 0.005, "load": 0.1}},
    {"node_id": "n2", "cost": 0.208, "terms": {"packing": 0.008, "load": 0.2}},
]
CHOICE: dict[str, Any] = {"nodes": 4, "candidates": 2, "ranked": _RANKED}
REFUSAL: dict[str, Any] = {
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


class ScoredView(View):
    node_id: str
    cost: float = Field(description="The sum of its terms; the node with the least is chosen.")
    terms: dict[str, float] = Field(description="Weighted cost by term; docs/scheduling.md.")


class ChoiceView(View):
    """How a node was chosen, as it was decided."""

    nodes: int = Field(description="Of the whole fleet at that time.")
    candidates: int = Field(description="Those of them that fitted.")
    ranked: tuple[ScoredView, ...] = Field(description="The best of them; the first was chosen.")


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


class PlacedView(View):
    node_id: str
    count: int = Field(description="Copies that it takes.")


class MadeRoomView(View):
    """Copies that start on a node once others have left it."""

    node_id: str
    count: int = Field(description="Copies that it takes then.")
    victims: tuple[str, ...] = Field(description="Ids of the pipelines that they would preempt.")
    leaving: tuple[str, ...] = Field(
        description="Ids of those that leave it already, and that they would wait for, too."
    )


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
                    "first": CHOICE,
                    "refused": REFUSAL,
                    "preempting": [{"node_id": "n2", "count": 1, "victims": ["p7"], "leaving": []}],
                    "queue_full": 0,
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
        description="What stops the next copy: NO_CAPACITY; LIMIT_REACHED: then its summary has "
        "the limit, and the nodes are not why; or QUEUE_FULL: none would be created.",
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
    preempting: tuple[MadeRoomView, ...] = Field(
        default=(),
        description="Where copies that wait start by preemption, of the first hundred that wait.",
    )
    queue_full: int = Field(
        default=0,
        description="Copies that would be refused with QUEUE_FULL, for too many of their tenant "
        "would wait.",
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
            preempting=tuple(MadeRoomView.model_validate(one) for one in forecast.preempting),
            queue_full=forecast.queue_full,
        )
