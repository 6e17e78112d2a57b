"""What could be changed about one thing that stands in the way of a pipeline on one node."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gamepipe.scheduling import gpuchange
from gamepipe.scheduling.amount import amounts_of
from gamepipe.scheduling.choose import RESERVED
from gamepipe.scheduling.crowd import crowd
from gamepipe.scheduling.fleet import CPU, DISK, MEMORY
from gamepipe.scheduling.label import column_of
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.obstacle import Obstacle
from gamepipe.scheduling.quantity import Change, cores, size_down, size_up
from gamepipe.scheduling.snapshot import Snapshot

WAIT, STATE, AGENT, ASK, DROP = 0.3, 0.5, 1.0, 1.0, 1.5
"""Sizes: what ends by itself; what people set; what they must do on the machine; to ask for less
(and more, the more is taken off); to give a wish up."""
_WHAT = {CPU: "", MEMORY: " of memory", DISK: " of disk"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One obstacle of one node."""

    need: Need
    snapshot: Snapshot
    obstacle: Obstacle
    row: int


def changes(case: Case) -> list[Change]:
    """Each by itself would take the obstacle away; the smallest first."""
    make = _CHANGES.get(case.obstacle.code)
    return sorted(make(case), key=lambda change: change.size) if make else []


def _one(words: str, size: float) -> Callable[[Case], Iterator[Change]]:
    def make(case: Case) -> Iterator[Change]:
        said = words.replace("{subject}", case.obstacle.subject)
        yield Change(kind=said, words=said, size=size)

    return make


def _placement(key: str) -> Callable[[Case], Iterator[Change]]:
    def make(case: Case) -> Iterator[Change]:
        said = f"drop placement.{key} {getattr(case.need.placement, key)}"
        yield Change(kind=said, words=said, size=DROP)

    return make


def _feature(case: Case) -> Iterator[Change]:
    feature = case.obstacle.subject
    words = {
        "command": "start the agent of {node} with --allow-commands",
        "container": "start Docker on {node}",
    }.get(feature, f"give {{node}} an agent that runs {feature} steps")
    yield Change(kind=feature, words=words, size=AGENT)


def _port(case: Case) -> Iterator[Change]:
    fleet = case.snapshot.fleet
    taken = [port for port in case.need.host_ports if fleet.port_taken(port)[case.row]]
    ports = f"host port{'' if len(taken) == 1 else 's'} {', '.join(taken)}"
    yield Change(kind="free port", words=f"free {ports} on {{node}}", size=STATE)
    yield Change(kind="ask port", words=f"publish other ports than {', '.join(taken)}", size=DROP)


def _amount(kind: int) -> Callable[[Case], Iterator[Change]]:
    def make(case: Case) -> Iterator[Change]:
        fleet, what = case.snapshot.fleet, _WHAT[kind]
        asked = amounts_of(case.need.resources)[kind]
        total, left = int(fleet.total[case.row, kind]), int(fleet.left[case.row, kind])
        up, down = (cores, cores) if kind == CPU else (size_up, size_down)
        part = (asked - left) / asked
        if asked <= total:
            words = f"free {up(asked - left)}{what} on {{node}}"
            yield Change(kind=f"free {kind}", words=words, size=part)
        if left > 0:
            words = f"ask for {down(left)}{what} instead of {up(asked).removesuffix(' cores')}"
            yield Change(kind=f"ask {kind}", words=words, size=ASK + part)

    return make


def _gpu(case: Case) -> Iterator[Change]:
    return gpuchange.changes(case.need.resources.gpu, case.snapshot.fleet.devices, case.row)


def _crowd(case: Case) -> Iterator[Change]:
    wanted, fleet = case.need.placement, case.snapshot.fleet
    column = column_of(fleet, wanted.spread)
    place = column.values[column.codes[case.row]] or "unknown"
    runs, most = int(crowd(case.need, fleet)[case.row]), wanted.spread_most or 0
    group = f"{wanted.spread_by} {case.need.group}"
    ended = f"end {runs - most + 1} of {runs} of {group} in {wanted.spread} {place}"
    yield Change(kind="end", words=ended, size=STATE)
    yield Change(kind="most", words=f"raise placement.spread.most to {runs + 1}", size=ASK)


def _too_far(case: Case) -> Iterator[Change]:
    wanted = case.need.placement
    limit = wanted.max_latency_ms or 0.0
    ms = float(case.snapshot.toward(wanted.player_region).ms[case.row])
    words = f"raise placement.max_latency_ms to {math.ceil(ms)}"
    yield Change(kind="raise latency", words=words, size=ASK + (ms - limit) / max(limit, 1.0))


def _unknown_latency(case: Case) -> Iterator[Change]:
    region = case.need.placement.player_region
    words = f"report probes from {region} to {{node}}, or where it is"
    yield Change(kind="probe", words=words, size=AGENT)
    yield Change(kind="drop latency", words="drop placement.max_latency_ms", size=DROP)


_CHANGES: dict[str, Callable[[Case], Iterator[Change]]] = {
    "NODE_NOT_NORMAL": _one("set {node} to normal", STATE),
    "NODE_NOT_ONLINE": _one("bring {node} back online", AGENT),
    "STOP_UNCONFIRMED": _one("wait until {node} has confirmed its stop orders", WAIT),
    "INSTANCES_UNACCOUNTED": _one("wait until {node} has told of its instances", WAIT),
    "NODE_PINNED": _placement("node"),
    "REGION_DIFFERS": _placement("region"),
    "ZONE_DIFFERS": _placement("zone"),
    "MATCH_FAILED": _one("drop match {subject}", DROP),
    "FORBIDDEN": _one("drop forbid {subject}", DROP),
    "FEATURE_MISSING": _feature,
    "PORT_TAKEN": _port,
    "CPU_SHORT": _amount(CPU),
    "MEMORY_SHORT": _amount(MEMORY),
    "DISK_SHORT": _amount(DISK),
    "GPU_SHORT": _gpu,
    "LATENCY_UNKNOWN": _unknown_latency,
    "LATENCY_TOO_HIGH": _too_far,
    "SPREAD_LIMIT": _crowd,
    RESERVED: _one("wait for the pipeline that {node} is kept for", WAIT),
}
CODES = frozenset(_CHANGES)
"""Of everything that can stand in the way."""
