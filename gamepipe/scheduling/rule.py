"""What can stand in the way of a pipeline on a node. Each rule says it once: as a mask over nodes,
and in words for the node that somebody asks about."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from gamepipe.model.node import GameNode
from gamepipe.model.record import Verdict
from gamepipe.model.spec import Match
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.scheduling import shortage
from gamepipe.scheduling.crowd import crowd
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.label import column_of, matches, shown
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.obstacle import Obstacle
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.values import ALL_ROWS, Mask, Some

Test = Callable[[GameNode], bool]
Say = Callable[[GameNode], str]

_CLOSED: dict[str, tuple[Test, Say]] = {
    "NODE_NOT_NORMAL": (
        lambda node: node.state is not NodeState.NORMAL,
        lambda node: f"is in state {node.state}",
    ),
    "NODE_NOT_ONLINE": (
        lambda node: node.connectivity is not Connectivity.ONLINE,
        lambda node: f"is {node.connectivity}",
    ),
    "STOP_UNCONFIRMED": (
        lambda node: node.stop_orders > 0,
        lambda node: (
            f"has not confirmed {node.stop_orders} stop order(s): its agent goes on trying; its "
            "log says what is in the way"
        ),
    ),
    "INSTANCES_UNACCOUNTED": (
        lambda node: node.unaccounted > 0,
        lambda node: (
            f"has not said yet how {node.unaccounted} instance(s) are: its agent says so once "
            "Docker answers there; start Docker"
        ),
    ),
}
_REMEDIES = {
    "command": "its agent was started without --allow-commands",
    "container": "its agent finds no Docker engine; start Docker there",
}


def takes_pipelines(node: GameNode) -> bool:
    """Whether the node takes anything new at all."""
    return closed_by(node) is None


def closed_by(node: GameNode) -> Verdict | None:
    """Why the node takes nothing new, whatever it is; None: it takes what fits."""
    for code, (test, say) in _CLOSED.items():
        if test(node):
            return Verdict(node_id=node.id, code=code, message=say(node))
    return None


def obstacles(need: Need, snapshot: Snapshot, rows: Some = ALL_ROWS) -> Iterator[Obstacle]:
    """What each node by itself has against it, in the order in which people would ask."""
    return chain(
        _closed(need, snapshot.fleet, rows),
        shortage.obstacles(need.resources, snapshot.fleet, rows),
        _latency(need, snapshot, rows),
    )


def obstacles_besides_shortage(need: Need, snapshot: Snapshot, rows: Some) -> Iterator[Obstacle]:
    """All but that there may be too little of something."""
    return chain(_closed(need, snapshot.fleet, rows), _latency(need, snapshot, rows))


def obstacles_of_node(need: Need, snapshot: Snapshot, rows: Some) -> Iterator[Obstacle]:
    """What stands in the way while the node is what it is, whatever is held on it."""
    return chain(_unfit(need, snapshot.fleet, rows), _latency(need, snapshot, rows))


def _closed(need: Need, fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    return chain(_unfit(need, fleet, rows), taken_ports(need, fleet, rows))


def _unfit(need: Need, fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    return chain(
        _state(fleet, rows),
        _place(need, fleet, rows),
        _matches(need, fleet, rows),
        _features(need, fleet, rows),
    )


def crowding(need: Need, fleet: Fleet) -> Iterator[Obstacle]:
    """What stands against a node for what runs on others: so many pipelines of the same tenant or
    template at one place, and no more."""
    wanted = need.placement
    if not wanted.spread or wanted.spread_most is None:
        return
    column, counts = column_of(fleet, wanted.spread), crowd(need, fleet)

    def say(row: int) -> str:
        place = column.values[column.codes[row]] or "unknown"
        group = f"{wanted.spread_by} {need.group}"
        return (
            f"is in {wanted.spread} {place}, where {counts[row]:.0f} of {group} run: "
            f"at most {wanted.spread_most}"
        )

    yield Obstacle(code="SPREAD_LIMIT", where=counts >= wanted.spread_most, say=say)


def _state(fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    for code, (test, say) in _CLOSED.items():
        yield _tested(fleet, rows, code, f"closed {code}", test=test, say=say)


def _tested(fleet: Fleet, rows: Some, code: str, name: str, *, test: Test, say: Say) -> Obstacle:
    where = fleet.that(name, test, rows)
    return Obstacle(code=code, where=where, say=lambda row: say(fleet.nodes[row]))


def _place(need: Need, fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    wanted = need.placement
    if pinned := wanted.node:
        where = np.ones(len(fleet), dtype=bool)
        if pinned in fleet.row_of:
            where[fleet.row_of[pinned]] = False
        said = f"placement.node asks for {pinned}"
        yield Obstacle(code="NODE_PINNED", where=where[rows], say=lambda _: said)
    for key in ("region", "zone"):
        if asked := getattr(wanted, key):
            yield _elsewhere(fleet, rows, key, asked)


def _elsewhere(fleet: Fleet, rows: Some, key: str, asked: str) -> Obstacle:
    def test(node: GameNode) -> bool:
        return getattr(node.location, key) != asked

    def say(node: GameNode) -> str:
        return f"is in {key} {getattr(node.location, key) or 'unknown'}, not {asked}"

    return _tested(
        fleet, rows, f"{key.upper()}_DIFFERS", f"not in {key} {asked}", test=test, say=say
    )


def _matches(need: Need, fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    for match in need.placement.match:
        yield _said("MATCH_FAILED", "does not match", match, ~matches(fleet, match, rows))
    for match in need.placement.forbid:
        yield _said("FORBIDDEN", "is forbidden by", match, matches(fleet, match, rows))


def _said(code: str, words: str, match: Match, where: Mask) -> Obstacle:
    said = shown(match)
    return Obstacle(code=code, where=where, say=lambda _: f"{words} {said}", subject=said)


def _features(need: Need, fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    for feature in sorted(need.features):
        yield _lacking(fleet, rows, feature)


def _lacking(fleet: Fleet, rows: Some, feature: str) -> Obstacle:
    def test(node: GameNode) -> bool:
        return feature not in node.facts.features

    said = f"runs no {feature} steps: {_REMEDIES.get(feature, 'its agent lacks it')}"
    name = f"lacks feature {feature}"
    found = _tested(fleet, rows, "FEATURE_MISSING", name, test=test, say=lambda _: said)
    return replace(found, subject=feature)


def taken_ports(need: Need, fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    """Ports of the host are held like room, but of each there is one."""
    if not need.host_ports:
        return
    taken = {port: fleet.port_taken(port) for port in need.host_ports}

    def say(row: int) -> str:
        return f"has host port {', '.join(port for port in taken if taken[port][row])} in use"

    where = np.logical_or.reduce(list(taken.values()))
    yield Obstacle(code="PORT_TAKEN", where=where[rows], say=say)


def _latency(need: Need, snapshot: Snapshot, rows: Some) -> Iterator[Obstacle]:
    limit, region = need.placement.max_latency_ms, need.placement.player_region
    if limit is None or not region:
        return
    latency = snapshot.toward(region)
    remedy = "report probes from there, or set latitude and longitude of node and region"
    unsaid = f"has no known latency to {region}: {remedy}"

    def say(row: int) -> str:
        ms = f"{latency.ms[row]:.0f} ms from {region} ({latency.said(row)})"
        return f"is {ms}, above {limit:g} ms"

    ms = latency.ms[rows]
    yield Obstacle(code="LATENCY_UNKNOWN", where=np.isnan(ms), say=lambda _: unsaid)
    yield Obstacle(code="LATENCY_TOO_HIGH", where=ms > limit, say=say)
