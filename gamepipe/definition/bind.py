"""Gives a pipeline its values: args, envs and secrets, from the submission or by default."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gamepipe.definition.kind import did_you_mean
from gamepipe.model.container_rule import repeated_mounts
from gamepipe.model.errors import InvalidPipeline, Mistake
from gamepipe.model.interpolation import (
    RenderedTooLarge,
    fill_step,
    holes,
    references,
    template_problems,
)
from gamepipe.model.reference import Reference
from gamepipe.model.spec import Parameter, PipelineSpec, Step

MAX_VALUE_BYTES = 64 * 1024
MAX_VALUES_BYTES = 256 * 1024
"""Of all values of a kind: args travel in one payload of Temporal, beside the spec."""
_Given = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """A pipeline with its values; `spec` holds no value of an env or a secret."""

    spec: PipelineSpec
    args: dict[str, str] = field(default_factory=dict)
    envs: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


def bind(
    spec: PipelineSpec,
    *,
    args: Mapping[str, str],
    envs: Mapping[str, str],
    secrets: Mapping[str, str],
) -> Bound:
    """Merge given values with the defaults of the file; given ones win.

    Every arg needs a value. An env or a secret needs one when a step's template names it; an env
    that only an `if` asks for may stay unset.

    Raises:
        InvalidPipeline: with every value that is missing, unknown, too long or does not fit its
            place; never with a value.
    """
    given: _Given = {"args": args, "envs": envs, "secrets": secrets}
    values = {kind: _merged(_declared(spec, kind), given[kind]) for kind in given}
    mistakes = [*_unknown(spec, given), *_missing(spec, values), *_unfit(values)]
    mistakes += _misplaced(spec, values) if not mistakes else []
    if mistakes:
        raise InvalidPipeline(mistakes)
    return Bound(
        spec=replace(spec, envs=_bare(spec.envs), secrets=_bare(spec.secrets)),
        args=values["args"],
        envs=values["envs"],
        secrets=values["secrets"],
    )


def _declared(spec: PipelineSpec, kind: str) -> tuple[Parameter, ...]:
    return {"args": spec.args, "envs": spec.envs, "secrets": spec.secrets}[kind]


def _bare(parameters: Iterable[Parameter]) -> tuple[Parameter, ...]:
    return tuple(replace(parameter, default=None) for parameter in parameters)


def _merged(declared: Iterable[Parameter], given: Mapping[str, str]) -> dict[str, str]:
    defaults = {item.name: item.default for item in declared}
    merged = {name: given.get(name, default) for name, default in defaults.items()}
    return {name: value for name, value in merged.items() if value is not None}


def _option(kind: str) -> str:
    return f"--{kind.removesuffix('s')}"


def _unknown(spec: PipelineSpec, given: _Given) -> Iterator[Mistake]:
    for kind, values in given.items():
        known = [item.name for item in _declared(spec, kind)]
        for name in values:
            if name not in known:
                declared = f"declare it under `{kind}` of the file, or leave it out"
                yield Mistake(
                    path=f"{kind}.{name[:60]}",
                    problem="the pipeline has no such " + kind.removesuffix("s"),
                    remedy=did_you_mean(name, known, else_=declared),
                )


def _missing(spec: PipelineSpec, values: _Given) -> Iterator[Mistake]:
    named = [references(step) for step in spec.steps]
    needed = {
        "args": frozenset(item.name for item in spec.args),
        "envs": frozenset().union(*(step.envs for step in named)),
        "secrets": frozenset().union(*(step.secrets for step in named)),
    }
    for kind, names in needed.items():
        for parameter in _declared(spec, kind):
            if parameter.name in names and parameter.name not in values[kind]:
                yield Mistake(
                    path=f"{kind}.{parameter.name}",
                    problem="has no value",
                    remedy=f"give it one with `{_option(kind)} {parameter.name}=VALUE`",
                )


def _unfit(values: _Given) -> Iterator[Mistake]:
    """Values that no process, database or payload would take."""
    for kind, named in values.items():
        total = 0
        for name, value in named.items():
            size = len(value.encode("utf-8", "surrogatepass"))
            total += size
            problem = _flaw(value, size)
            if problem is not None:
                yield Mistake(path=f"{kind}.{name}", problem=problem[0], remedy=problem[1])
        if total > MAX_VALUES_BYTES:
            limit = f"keep them within {MAX_VALUES_BYTES >> 10} KiB in all"
            yield Mistake(path=kind, problem=f"the values take {total >> 10} KiB", remedy=limit)


def _flaw(value: str, size: int) -> tuple[str, str] | None:
    if size > MAX_VALUE_BYTES:
        limit = f"keep it within {MAX_VALUE_BYTES >> 10} KiB, or put it into a file"
        return f"the value takes {size >> 10} KiB", limit
    if "\0" in value:
        return "the value holds a zero character", "remove it"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "the value is not valid Unicode", "remove the half characters (surrogates)"
    return None


def _misplaced(spec: PipelineSpec, values: _Given) -> Iterator[Mistake]:
    """Places where the values give something that does not fit, such as a port `abc`, and steps
    that they make too large."""

    def value_of(reference: Reference) -> str:
        return values[reference.root][reference.name]

    for step in spec.steps:
        try:
            rendered = fill_step(step, value_of, fits=lambda text: not _waits(text, values))
        except RenderedTooLarge as error:
            yield Mistake(path=f"steps[{step.index}]", problem=error.problem, remedy=error.remedy)
        else:
            yield from _unfilled(step, rendered, values)
            yield from _remounted(rendered)


def _unfilled(step: Step, rendered: Step, values: _Given) -> Iterator[Mistake]:
    if step.container is None or rendered.container is None:
        return
    for problem in template_problems(step.container, rendered.container):
        if not _waits(problem.template, values):
            yield Mistake(
                path=f"steps[{step.index}].{problem.path}",
                problem=f"`{problem.template}` does not give {problem.wanted}",
                remedy="correct the value of " + _names(problem.template),
            )


def _remounted(step: Step) -> Iterator[Mistake]:
    if step.container is None:
        return
    for mount, first in repeated_mounts(step.container.volumes, step.container.tmpfs):
        yield Mistake(
            path=f"steps[{step.index}].container.{mount}",
            problem=f"with these values it mounts the same folder as `{first}`",
            remedy="give values that lead to different folders",
        )


def _waits(template: str, values: _Given) -> bool:
    """Whether a part of it is known only on the node."""
    return any(hole.reference.root not in values for hole in holes(template))


def _names(template: str) -> str:
    return " or ".join(f"`{hole.reference}`" for hole in holes(template))
