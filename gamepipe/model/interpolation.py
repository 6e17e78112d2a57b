"""Templates: `${{ args.X }}` in a step's texts, filled in once; `$${{` stands for `${{`.

A value is never looked into again: what an env or an output holds is not a template. Error
messages name references and fields, never values.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from gamepipe.model.container_rule import ruled_texts
from gamepipe.model.errors import GamePipeError
from gamepipe.model.reference import Reference, ReferenceSyntax, read_path, reference_of
from gamepipe.model.spec import Container, Step
from gamepipe.model.textmap import map_texts
from gamepipe.wire import Scope

_OPEN = "${{"
TEMPLATE = re.compile(r"""\$\{\{((?:[^'"}]|'[^']*+'|"[^"]*+"|\}(?!\})){0,400}+)\}\}""")
_TEMPLATED = ("container", "command", "environment")
MAX_RENDERED_BYTES = 1024 * 1024
"""Of all texts of one step whose templates are filled in: a template may repeat a value often."""


class InterpolationError(GamePipeError):
    """A template cannot be filled in, or what it gives does not fit its place."""

    reason = "INTERPOLATION_FAILED"


@dataclass(frozen=True, slots=True)
class Hole:
    """A reference within a template; `position` counts from 0."""

    reference: Reference
    position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """What one step's templates name."""

    args: frozenset[str] = frozenset()
    envs: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    outputs: frozenset[tuple[str, str]] = frozenset()
    """(step, output)."""
    node: frozenset[str] = frozenset()
    pipeline: frozenset[str] = frozenset()


@lru_cache(maxsize=4096)
def parse_template(text: str) -> tuple[str | Hole, ...]:
    """Literal texts and holes in turn; raises `ReferenceSyntax`."""
    parts: list[str | Hole] = []
    done = 0
    while (at := text.find(_OPEN, done)) >= 0:
        if at > done and text[at - 1] == "$":
            parts.append(text[done : at - 1] + _OPEN)
            done = at + len(_OPEN)
            continue
        body = TEMPLATE.match(text, at)
        if body is None:
            raise ReferenceSyntax("`${{` is not closed", "end it with `}}`, or write `$${{`", at)
        parts.append(text[done:at])
        parts.append(Hole(_read_hole(body.group(1), at + len(_OPEN)), at))
        done = body.end()
    parts.append(text[done:])
    return tuple(part for part in parts if part != "")


def _read_hole(body: str, offset: int) -> Reference:
    inner = body.strip()
    offset += len(body) - len(body.lstrip())
    try:
        names, end = read_path(inner)
        reference = reference_of(names)
    except ReferenceSyntax as error:
        raise ReferenceSyntax(error.problem, error.remedy, offset) from None
    if end != len(inner):
        remedy = "a template holds one name, such as ${{ args.X }}"
        raise ReferenceSyntax(f"`{inner[end:].strip()}` is out of place", remedy, offset)
    if reference.root == "steps" and not reference.output:
        raise ReferenceSyntax("a step's state is for `if` only", "name one of its outputs", offset)
    return reference


def has_template(text: str) -> bool:
    return _OPEN in text


def holes(text: str) -> tuple[Hole, ...]:
    """The references of one text; raises `ReferenceSyntax`."""
    if not has_template(text):
        return ()
    return tuple(part for part in parse_template(text) if isinstance(part, Hole))


class RenderedTooLarge(InterpolationError):
    """A step's templates give more than it may hold."""

    problem = f"its templates give more than {MAX_RENDERED_BYTES >> 20} MiB in all"
    remedy = "use long values less often, or put them into a file in the workspace"

    def __init__(self) -> None:
        super().__init__(f"{self.problem}; {self.remedy}")


class RenderedSize:
    """Counts what the texts of one step come to, while they are filled in."""

    def __init__(self, limit: int = MAX_RENDERED_BYTES) -> None:
        self._left = limit

    def add(self, part: str) -> str:
        """The part. Raises `RenderedTooLarge` when it is one too many."""
        self._left -= len(part.encode("utf-8", "surrogatepass"))
        if self._left < 0:
            raise RenderedTooLarge
        return part


def render_text(
    text: str, value_of: Callable[[Reference], str], size: RenderedSize | None = None
) -> str:
    """Fill in every hole of a text, in one pass; `size` counts it with the step's other texts.
    Raises `RenderedTooLarge` before it takes more memory than that."""
    if not has_template(text):
        return text
    parts = parse_template(text)
    size = size or RenderedSize()
    return "".join(
        size.add(part if isinstance(part, str) else value_of(part.reference)) for part in parts
    )


# --- a step ------------------------------------------------------------------------------------


def references(step: Step) -> References:
    """Every name that the step's templates use."""
    found: dict[str, set[str]] = {}
    outputs: set[tuple[str, str]] = set()
    for text in _step_texts(step):
        for hole in holes(text):
            reference = hole.reference
            if reference.root == "steps":
                outputs.add((reference.name, reference.output))
            else:
                found.setdefault(reference.root, set()).add(reference.name)
    names = {root: frozenset(values) for root, values in found.items()}
    return References(outputs=frozenset(outputs), **names)


def scope_for(
    step: Step,
    *,
    args: Mapping[str, str],
    outputs: Mapping[str, Mapping[str, str]],
    node: Mapping[str, str],
    pipeline: Mapping[str, str],
    env_names: Sequence[str],
    secret_names: Sequence[str],
) -> Scope:
    """The scope cut down to what the step names; what is missing shows in `render_step`."""
    named = references(step)
    given: dict[str, dict[str, str]] = {}
    for name, output in sorted(named.outputs):
        if output in outputs.get(name, {}):
            given.setdefault(name, {})[output] = outputs[name][output]
    return Scope(
        args=_cut(args, named.args),
        outputs=given,
        node=_cut(node, named.node),
        pipeline=_cut(pipeline, named.pipeline),
        env_names=tuple(sorted(named.envs.intersection(env_names))),
        secret_names=tuple(sorted(named.secrets.intersection(secret_names))),
    )


def _cut(values: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: values[name] for name in sorted(names) if name in values}


def render_step(
    step: Step, scope: Scope, *, envs: Mapping[str, str], secrets: Mapping[str, str]
) -> Step:
    """The step with every template filled in; raises `InterpolationError`."""
    values: dict[str, Mapping[str, str]] = {
        "args": scope.args,
        "envs": envs,
        "secrets": secrets,
        "node": scope.node,
        "pipeline": scope.pipeline,
    }

    def value_of(reference: Reference) -> str:
        known = values.get(reference.root)
        if known is None:
            known, key = scope.outputs.get(reference.name, {}), reference.output
        else:
            key = reference.name
        if key not in known:
            raise InterpolationError(_missing(step, reference), reference=str(reference))
        return known[key]

    try:
        rendered = fill_step(step, value_of)
    except (ReferenceSyntax, RenderedTooLarge) as error:
        raise InterpolationError(f"step {step.name!r}: {error}") from None
    _check_rendered(step, rendered)
    return rendered


def fill_step(
    step: Step,
    value_of: Callable[[Reference], str],
    *,
    fits: Callable[[str], bool] = lambda _: True,
) -> Step:
    """The step with its templates filled in, of the texts that `fits` picks.

    Raises `ReferenceSyntax` and `RenderedTooLarge`.
    """
    size = RenderedSize()

    def fill(text: str) -> str:
        return render_text(text, value_of, size) if fits(text) else text

    return replace(step, **{name: map_texts(getattr(step, name), fill) for name in _TEMPLATED})


def _missing(step: Step, reference: Reference) -> str:
    why = {
        "args": "the arg has no value",
        "envs": "the env has no value",
        "secrets": "the secret has no value",
        "steps": f"step {reference.name!r} did not write that output",
        "node": "the node has no such fact",
        "pipeline": "a pipeline has no such fact",
    }
    return f"step {step.name!r}: ${{{{ {reference} }}}} is missing: {why[reference.root]}"


def _check_rendered(step: Step, rendered: Step) -> None:
    if step.container is None or rendered.container is None:
        return
    for problem in template_problems(step.container, rendered.container):
        raise InterpolationError(f"step {step.name!r}: {problem.text}", path=problem.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateProblem:
    """A place whose templates gave something that does not fit; never holds the value."""

    path: str
    template: str
    wanted: str

    @property
    def text(self) -> str:
        return f"{self.path}: `{self.template}` must give {self.wanted}"


def template_problems(template: Container, rendered: Container) -> Iterator[TemplateProblem]:
    """Places with templates whose rendered text breaks the rule of the place."""
    for before, after in zip(ruled_texts(template), ruled_texts(rendered), strict=True):
        if has_template(before.text) and not before.rule.accepts(after.text):
            yield TemplateProblem(
                path=f"container.{before.path}", template=before.text, wanted=before.rule.wanted
            )


# --- walking -----------------------------------------------------------------------------------


def _step_texts(step: Step) -> list[str]:
    texts: list[str] = []

    def keep(text: str) -> str:
        if has_template(text):
            texts.append(text)
        return text

    for name in _TEMPLATED:
        map_texts(getattr(step, name), keep)
    return texts
