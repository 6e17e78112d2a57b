"""Matches on the labels and facts of nodes, evaluated once for each value that occurs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gamepipe.model.node import GameNode
from gamepipe.model.spec import Match
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.values import ALL_ROWS, Mask, Rows, Some, are_few


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A key's values: `values[codes[row]]` is that of a row; None: it has none."""

    values: tuple[str | None, ...]
    codes: Rows


def column_of(fleet: Fleet, key: str) -> Column:
    """`os`, `kernel`, `architecture`, `region`, `zone` and `id` (also: `node`) name facts; a label
    of the same name comes first."""
    return fleet.column(f"label {key}", lambda fleet: _column(fleet.nodes, key))


def matches(fleet: Fleet, match: Match, rows: Some = ALL_ROWS) -> Mask:
    """Nodes for which the match holds."""
    if are_few(rows):
        values = [_value(match.key, fleet.nodes[row]) for row in rows]
        return np.array([_holds(match, value) for value in values], dtype=bool)
    column = column_of(fleet, match.key)
    held = np.array([_holds(match, value) for value in column.values], dtype=bool)
    return held[column.codes[rows]]


def shown(match: Match) -> str:
    return f"{match.key} {match.op} {', '.join(match.values)}".strip()


def _column(nodes: Sequence[GameNode], key: str) -> Column:
    codes: dict[str | None, int] = {}
    rows = [codes.setdefault(_value(key, node), len(codes)) for node in nodes]
    return Column(values=tuple(codes), codes=np.array(rows, dtype=np.int64))


def _value(key: str, node: GameNode) -> str | None:
    if key in node.labels:
        return node.labels[key]
    facts = {
        "id": node.id,
        "node": node.id,
        "os": node.facts.os,
        "kernel": node.facts.kernel,
        "architecture": node.facts.architecture,
        "region": node.location.region,
        "zone": node.location.zone,
    }
    return facts.get(key) or None


def _holds(match: Match, value: str | None) -> bool:
    match match.op:
        case "exists":
            return value is not None
        case "not exists":
            return value is None
        case "in":
            return value in match.values
        case "not in":
            return value not in match.values
        case ">" | "<":
            return _compares(value, match.op, match.values)
    raise ValueError(f"unknown operator {match.op!r}")


def _compares(value: str | None, op: str, values: Sequence[str]) -> bool:
    try:
        left, right = float(value or ""), float(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if op == ">" else left < right
