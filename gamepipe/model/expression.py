"""`if` conditions: a small language of its own, bounded, without side effects.

::

    or:       and (("or" | "||") and)*
    and:      not (("and" | "&&") not)*
    not:      ("not" | "!") not | comparison
    compare:  value (("==" | "!=" | "<" | "<=" | ">" | ">=") value)?
    value:    success() | failure() | canceled() | always() | "text" | number | true | false
              | args.X | envs.X | steps.X.state | steps.X.outputs.Y | node.X | pipeline.X | (or)

A condition that asks for no status (neither a status function nor a step's state) also asks for
`success()`. An env may only be tested for being set.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache

from gamepipe.model.condition import (
    Call,
    Compare,
    Condition,
    ExpressionError,
    Literal,
    Logic,
    Name,
    Negation,
    Term,
    parse,
)
from gamepipe.model.reference import Reference

__all__ = [
    "Condition",
    "ConditionScope",
    "ExpressionError",
    "StepFacts",
    "evaluate",
    "is_always",
    "parse_condition",
]

_FALSE_TEXTS = frozenset({"", "0", "false"})
_Value = str | float | bool


@dataclass(frozen=True, kw_only=True)
class StepFacts:
    """What a condition may know of a step; `state` as in `StepState`."""

    state: str
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ConditionScope:
    """What a condition is evaluated against; of envs only the names of those that are set."""

    args: Mapping[str, str] = field(default_factory=dict)
    env_names: AbstractSet[str] = frozenset()
    steps: Mapping[str, StepFacts] = field(default_factory=dict)
    ancestors: AbstractSet[str] = frozenset()
    failed_ancestors: bool = False
    """A step before this one, through `needs`, failed without `continue_on_error`."""
    canceled: bool = False
    node: Mapping[str, str] = field(default_factory=dict)
    pipeline: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=2048)
def parse_condition(text: str) -> Condition:
    """Read a condition, with or without `${{ }}`; raises `ExpressionError` with its position."""
    return parse(text)


def evaluate(text: str, scope: ConditionScope) -> bool:
    """Whether the step may run; raises `ExpressionError` for what cannot be compared."""
    condition = parse_condition(text)
    if not condition.asks_status and not _success(scope):
        return False
    return _is_true(_value(condition.term, scope))


def is_always(text: str) -> bool:
    """Whether the condition calls `always()` or `canceled()`: such a step may run in a cancel."""
    return bool(parse_condition(text).calls & {"always", "canceled"})


def _success(scope: ConditionScope) -> bool:
    return not scope.failed_ancestors and not scope.canceled


def _call(name: str, scope: ConditionScope) -> bool:
    return {
        "success": _success(scope),
        "failure": scope.failed_ancestors,
        "canceled": scope.canceled,
        "always": True,
    }[name]


def _value(term: Term, scope: ConditionScope) -> _Value:
    match term:
        case Literal(value):
            return value
        case Call(name):
            return _call(name, scope)
        case Name(reference, position):
            return _look_up(reference, position, scope)
    return _combined(term, scope)


def _combined(term: Negation | Logic | Compare, scope: ConditionScope) -> bool:
    match term:
        case Negation(inner):
            return not _is_true(_value(inner, scope))
        case Logic("and", terms):
            return all(_is_true(_value(part, scope)) for part in terms)
        case Logic(_, terms):
            return any(_is_true(_value(part, scope)) for part in terms)
        case Compare():
            return _compare(term, scope)


def _look_up(reference: Reference, position: int, scope: ConditionScope) -> _Value:
    """The value of a name; an output that was not written and an absent fact are empty."""
    match reference.root:
        case "args":
            return scope.args.get(reference.name, "")
        case "envs":
            return reference.name in scope.env_names
        case "node":
            return scope.node.get(reference.name, "")
        case "pipeline":
            return scope.pipeline.get(reference.name, "")
    step = scope.steps.get(reference.name)
    if step is None:
        raise ExpressionError(f"there is no step {reference.name!r}", "name a step", position)
    return step.outputs.get(reference.output, "") if reference.output else step.state


def _is_true(value: _Value) -> bool:
    if isinstance(value, str):
        return value.lower() not in _FALSE_TEXTS
    return bool(value)


def _compare(term: Compare, scope: ConditionScope) -> bool:
    left, right = _value(term.left, scope), _value(term.right, scope)
    if term.operator in {"==", "!="}:
        return _is_equal(left, right) is (term.operator == "==")
    a, b = _orderable(left, right, term)
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[term.operator]


def _is_equal(left: _Value, right: _Value) -> bool:
    """As numbers when either side is one, else as texts (`true` equals "true")."""
    if _is_number(left) or _is_number(right):
        a, b = _number(left), _number(right)
        return a is not None and a == b
    return _text(left) == _text(right)


def _orderable(left: _Value, right: _Value, term: Compare) -> tuple[float, float]:
    a, b = _number(left), _number(right)
    if a is None or b is None:
        remedy = "use == or != for texts"
        raise ExpressionError(f"`{term.operator}` needs two numbers", remedy, term.position)
    return a, b


def _is_number(value: _Value) -> bool:
    return isinstance(value, float)


def _number(value: _Value) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _text(value: _Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
