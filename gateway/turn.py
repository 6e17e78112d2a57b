"""What REST says of a place in the queue."""

from typing import Any

from pydantic import Field

from gateway.view import View

EXAMPLE: dict[str, Any] = {
    "position": 1,
    "waiting": 3,
    "priority": 0,
    "tenant": "acme",
    "share": 0.125,
    "share_of": "GPUs",
    "weight": 2.0,
    "above": 0,
    "older": 0,
    "others": 0,
    "limited": 0,
}


class TurnView(View):
    """The place in the queue, by the order in which it is served: docs/queue.md."""

    position: int = Field(description="From 1: its turn, if everybody before found room.")
    waiting: int = Field(description="In the whole queue, with itself.")
    priority: int = Field(description="Its class.")
    tenant: str
    share: float = Field(
        description="0..1: the largest part that its tenant holds of any resource of the fleet."
    )
    share_of: str = Field(description="Of which: cores, memory, disk or GPUs.")
    weight: float = Field(description="Of its tenant; a share counts divided by it.")
    above: int = Field(description="Before it: of a higher priority.")
    older: int = Field(description="Before it: older ones of its own tenant.")
    others: int = Field(
        description="Before it: of other tenants, which by then hold less for their weight, or as "
        "much and have waited longer."
    )
    limited: int = Field(description="Passed over in the order: limits hold them back.")
