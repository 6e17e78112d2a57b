"""How steps hang together: names, `needs`, cycles, and what templates and conditions name."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gamepipe.definition.kind import Reader, did_you_mean
from gamepipe.definition.step import StepDraft
from gamepipe.model.expression import parse_condition
from gamepipe.model.graph import ancestors
from gamepipe.model.reference import NODE_FACTS, PIPELINE_FACTS, Reference
from gamepipe.model.spec import Step

_SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Wiring:
    """`names` and `needs` by index. `before`: ancestors by name; None when the graph is broken."""

    names: tuple[str, ...]
    needs: tuple[tuple[str, ...], ...]
    before: dict[str, frozenset[str]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """Names that the file declares; None: they could not be read, so nothing is held to them."""

    names: dict[str, frozenset[str] | None] = field(default_factory=dict)


def wire(drafts: Sequence[StepDraft], reader: Reader) -> Wiring:
    """Names and needs of all steps, with their mistakes noted."""
    names = _names(drafts, reader)
    needs = tuple(_needs(number, drafts, names, reader) for number in range(len(drafts)))
    cyclic = _note_cycles(drafts, names, needs, reader)
    if cyclic or len(set(names)) < len(names):
        return Wiring(names=names, needs=needs)
    steps = [
        Step(index=number, name=name, needs=need)
        for number, (name, need) in enumerate(zip(names, needs, strict=True))
    ]
    return Wiring(names=names, needs=needs, before=ancestors(steps))


def _names(drafts: Sequence[StepDraft], reader: Reader) -> tuple[str, ...]:
    names: list[str] = []
    for number, draft in enumerate(drafts):
        name = draft.values.get("name", f"step-{number + 1}")
        if name in names:
            other = drafts[names.index(name)]
            place = f"{draft.path}.name"
            problem = f"`{name}` is the name of the step on line {other.node.line} too"
            node = reader.places.get(place, draft.node)
            reader.fail(node, place, problem, "give each step a name of its own")
        names.append(name)
    return tuple(names)


def _needs(
    number: int, drafts: Sequence[StepDraft], names: tuple[str, ...], reader: Reader
) -> tuple[str, ...]:
    """Names that exist; by default the step above."""
    draft = drafts[number]
    if "needs" not in draft.values:
        is_absent = f"{draft.path}.needs" not in reader.places
        return (names[number - 1],) if is_absent and number else ()
    known: list[str] = []
    for position, need in enumerate(draft.values["needs"]):
        place = f"{draft.path}.needs[{position}]"
        if need == names[number]:
            _fail_need(place, "a step cannot need itself", "remove it", reader)
        elif need not in names:
            remedy = did_you_mean(need, names, else_=f"name one of {_listed(names)}")
            _fail_need(place, f"there is no step `{need}`", remedy, reader)
        else:
            known.append(need)
    return tuple(known)


def _fail_need(place: str, problem: str, remedy: str, reader: Reader) -> None:
    """`needs: one` has no list to count in."""
    node = reader.places.get(place) or reader.places.get(place.rpartition("[")[0])
    reader.fail(node, place, problem, remedy)


def _listed(names: Iterable[str]) -> str:
    shown = list(dict.fromkeys(names))
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(f"`{name}`" for name in shown[:_SHOWN]) + more


# --- cycles ------------------------------------------------------------------------------------


def _note_cycles(
    drafts: Sequence[StepDraft],
    names: tuple[str, ...],
    needs: tuple[tuple[str, ...], ...],
    reader: Reader,
) -> bool:
    """Note each cycle once; whether there is any."""
    index = {name: number for number, name in reversed(list(enumerate(names)))}
    left = {number: {index[need] for need in needs[number]} for number in range(len(names))}
    found = False
    while _peel(left):
        cycle = _cycle_in(left)
        found = True
        path = " -> ".join(f"`{names[number]}`" for number in [*cycle, cycle[0]])
        place = f"{drafts[cycle[0]].path}.needs"
        node = reader.places.get(place, drafts[cycle[0]].node)
        remedy = "remove one of these needs (a step without `needs` follows the one above)"
        reader.fail(node, place, f"steps wait for each other: {path[:500]}", remedy)
        for number in cycle:
            left[number] = set()
    return found


def _peel(left: dict[int, set[int]]) -> dict[int, set[int]]:
    """Take away every step that can run, again and again; what is left waits for ever."""
    while free := [number for number, needs in left.items() if not needs & left.keys()]:
        for number in free:
            del left[number]
    return left


def _cycle_in(left: dict[int, set[int]]) -> list[int]:
    """Every step here needs another one here, so walking on must come round."""
    walked: list[int] = []
    current = min(left)
    while current not in walked:
        walked.append(current)
        current = min(left[current] & left.keys())
    cycle = walked[walked.index(current) :]
    start = cycle.index(min(cycle))
    return cycle[start:] + cycle[:start]


# --- references --------------------------------------------------------------------------------


def check_references(
    drafts: Sequence[StepDraft], wiring: Wiring, declared: Declared, reader: Reader
) -> None:
    """Note every name in a template or a condition that means nothing."""
    outputs = {
        name: draft.values.get("outputs", ())
        for name, draft in zip(wiring.names, drafts, strict=True)
    }
    for number, draft in enumerate(drafts):
        check = _Checker(wiring, declared, outputs, wiring.names[number])
        for placed in draft.holes:
            problem = check.problem(placed.hole.reference)
            if problem is not None:
                reader.fail(placed.node, placed.path, *problem, offset=placed.hole.position)
        _check_condition(draft, check, reader)


def _check_condition(draft: StepDraft, check: "_Checker", reader: Reader) -> None:
    place = f"{draft.path}.if"
    if "if" not in draft.values:
        return
    node: Any = reader.places[place]
    for name in parse_condition(node.text).names:
        problem = check.problem(name.reference)
        if problem is not None:
            reader.fail(node, place, *problem, offset=name.position)


@dataclass(frozen=True, slots=True)
class _Checker:
    wiring: Wiring
    declared: Declared
    outputs: dict[str, tuple[str, ...]]
    step: str

    def problem(self, reference: Reference) -> tuple[str, str] | None:
        """(problem, remedy) of a name that means nothing here."""
        match reference.root:
            case "steps":
                return self._step_problem(reference)
            case "node":
                return _unknown(reference, NODE_FACTS, "facts of a node")
            case "pipeline":
                return _unknown(reference, PIPELINE_FACTS, "facts of a pipeline")
        known = self.declared.names.get(reference.root)
        if known is None or reference.name in known:
            return None
        remedy = did_you_mean(
            reference.name, known, else_=f"add `{reference.name}` to `{reference.root}`"
        )
        return f"`{reference}` is not declared", remedy

    def _step_problem(self, reference: Reference) -> tuple[str, str] | None:
        names, before = self.wiring.names, self.wiring.before
        if reference.name not in names:
            remedy = did_you_mean(reference.name, names, else_=f"name one of {_listed(names)}")
            return f"there is no step `{reference.name}`", remedy
        if before is not None and reference.name not in before[self.step]:
            if reference.name == self.step:
                return "a step cannot refer to itself", "name a step before this one"
            remedy = f"add `{reference.name}` to this step's `needs`"
            return f"step `{reference.name}` does not come before this one", remedy
        offered = self.outputs[reference.name]
        if reference.output and offered and reference.output not in offered:
            remedy = did_you_mean(reference.output, offered, else_=f"use {_listed(offered)}")
            return f"step `{reference.name}` declares no output `{reference.output}`", remedy
        return None


def _unknown(reference: Reference, known: Collection[str], what: str) -> tuple[str, str] | None:
    if reference.name in known:
        return None
    return f"`{reference}` is not known", f"the {what} are {_listed(known)}"
