"""How long the way takes between players and nodes: what is told of it, and what is kept."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from gamepipe.model.text import flaw

REGION, NODE = "region", "node"
LONGEST_NAME = 253
"""Of a region, in characters."""
LONGEST_REPORTED = 63
"""Of one to which an agent tells the round trip."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Endpoint(NamedTuple):
    """One end of a way: a region of players, or a node."""

    kind: str
    """`region` or `node`."""
    name: str


def region(name: str) -> Endpoint:
    return Endpoint(REGION, name)


def node(node_id: str) -> Endpoint:
    return Endpoint(NODE, node_id)


def name_flaw(name: str, *, longest: int = LONGEST_NAME) -> str:
    """What is wrong with the name of a region; "" for one that a pipeline file may have."""
    if not 0 < len(name) <= longest:
        return f"has 1 to {longest} characters"
    if _CONTROL.search(name):
        return "is one line without control characters"
    return flaw(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Round trips that somebody measured. The way back is as long: who asked whom is no matter."""

    source: Endpoint
    node_id: str
    rtt_ms: float
    at: datetime
    count: int = 1
    """Of the round trips of which this is the median."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What many probes of one way come to."""

    rtt_ms: float
    """Their median; newer ones count more."""
    jitter_ms: float
    """How far from it they usually are."""
    weight: float
    """How many probes of its last moment they are worth; half of it after each half-life."""
    last_at: datetime
    samples: int = 0
    """Probes so far, those that are forgotten too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredWay:
    source: Endpoint
    node_id: str
    measured: Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """What is known of the way from one source to a node."""

    source: Endpoint
    ms: float | None
    """None: nothing."""
    error_ms: float | None
    """How far off that may be, one standard deviation."""
    how: str
    """`measured`, `predicted`, `distance` or `unknown`."""
    measured: Measured | None = None
    """What was measured; the estimate may lean on other things too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Where the players of a region are."""

    name: str
    latitude: float
    longitude: float
    updated_at: datetime | None = None
    """None: nobody said it; it is the middle of the nodes that are located there."""
