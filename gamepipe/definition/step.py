"""One entry of `steps`."""

from dataclasses import dataclass, replace
from typing import Any

from gamepipe.definition.container import CONTAINER
from gamepipe.definition.kind import INVALID, Choice, Flag, Number, PlacedHole, Reader, Text
from gamepipe.definition.long_form import ENVIRONMENT, VALUE
from gamepipe.definition.shape import Either, Field, ListOf, Record
from gamepipe.definition.tree import Node, Scalar
from gamepipe.definition.unit import Duration
from gamepipe.model.condition import MAX_LENGTH, ExpressionError, unwrap
from gamepipe.model.expression import parse_condition
from gamepipe.model.interpolation import has_template
from gamepipe.model.spec import JsonObject, Retry, Step, StepType

MAX_STEPS = 500
MAX_ATTEMPTS = 100
PROGRESS = "GAMEPIPE_PROGRESS"
STEP_NAME = Text(
    what="a text of one line", scalars=True, pattern=r"[^\x00-\x1f\x7f]+", max_length=200
)
_OUTPUT = Text(
    what="a name (letters, digits and `_`, the first no digit)",
    pattern="[A-Za-z_][A-Za-z0-9_]*",
    max_length=128,
)


class _If:
    """A condition, kept without `${{ }}`."""

    _text = Text(what="a condition such as `failure()`", scalars=True, max_length=MAX_LENGTH)

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if not isinstance(node, Scalar) or not has_template(node.text):
            text = self._text.read(node, path, reader)
        else:
            text = node.text
        if text is INVALID:
            return INVALID
        try:
            parse_condition(text)
        except ExpressionError as error:
            return reader.fail(node, path, error.problem, error.remedy, offset=error.position)
        return unwrap(text)[0].strip()

    def schema(self) -> JsonObject:
        kinds = ["string", "number", "boolean"]
        return {"type": kinds, "pattern": r"\S", "maxLength": MAX_LENGTH}


class _Script:
    """A list of lines is one script."""

    _lines = ListOf(item=VALUE, least=1)

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        lines = self._lines.read(node, path, reader)
        return INVALID if lines is INVALID else "\n".join(lines)

    def schema(self) -> JsonObject:
        return self._lines.schema()


def _build_retry(values: dict[str, Any]) -> Retry:
    default = Retry()
    initial = values.get("initial", default.initial_seconds)
    return Retry(
        max_attempts=values.get("max_attempts", default.max_attempts),
        initial_seconds=initial,
        factor=float(values.get("factor", default.factor)),
        # A first wait above the default ceiling was meant as it is written.
        max_seconds=values.get("max", max(initial, default.max_seconds)),
    )


def _check_retry(values: dict[str, Any], _node: Node, path: str, reader: Reader) -> None:
    if "max" in values and values["max"] < values.get("initial", 0):
        remedy = "make `max` at least as long as `initial`"
        reader.fail_at(f"{path}.max", "is shorter than `initial`", remedy)


RETRY = Record(
    fields={
        "max_attempts": Field(
            Number(low=1, high=MAX_ATTEMPTS, whole=True), "Attempts in all; 1 means no retry."
        ),
        "initial": Field(Duration(zero=True), "Wait before the second attempt (default 1s)."),
        "factor": Field(Number(low=1, high=100), "What each wait is multiplied by (default 2)."),
        "max": Field(Duration(zero=True), "Longest wait (default 60s)."),
    },
    check=_check_retry,
    build=_build_retry,
)


def _check_step(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
    is_command = values.get("type") is StepType.COMMAND
    present = {key for key in ("container", "command", "environment") if _has(key, path, reader)}
    if f"{path}.type" in reader.places and "type" not in values:
        return
    if is_command:
        _check_command(present, node, path, reader)
    else:
        _check_contained(values.get("type", StepType.CONTAINER), present, node, path, reader)
    if values.get("always") and "if" in values:
        remedy = "keep one of them; a condition can say `always() and ...`"
        reader.fail_at(f"{path}.always", "`always` would pass over `if`", remedy)


def _has(key: str, path: str, reader: Reader) -> bool:
    return f"{path}.{key}" in reader.places


def _check_command(present: set[str], node: Node, path: str, reader: Reader) -> None:
    if "container" in present:
        remedy = "remove it, or write `type: container`"
        reader.fail_at(f"{path}.container", "a `command` step has no container", remedy)
    if "command" not in present:
        remedy = "add `command`: the script to run with `/bin/sh -e`"
        reader.fail(node, f"{path}.command", "is missing", remedy)


def _check_contained(
    kind: StepType, present: set[str], node: Node, path: str, reader: Reader
) -> None:
    if "container" not in present and "command" in present:
        remedy = "add `type: command`, or put it into a `container` with an `image`"
        reader.fail_at(f"{path}.command", f"a `{kind}` step runs no `command` of its own", remedy)
        return
    if "container" not in present:
        remedy = "add `container` with an `image`, or write `type: command`"
        reader.fail(node, f"{path}.container", "is missing", remedy)
    for key in sorted(present - {"container"}):
        remedy = f"move it to `container.{key}`, or write `type: command`"
        reader.fail_at(f"{path}.{key}", f"`{key}` is for steps of type `command`", remedy)


_RECORD = Record(
    fields={
        "name": Field(STEP_NAME, "Unique name; `step-N` by default."),
        "type": Field(
            Choice(values=StepType),
            "container (default): runs to its end; service: stays up; command: a script.",
        ),
        "container": Field(CONTAINER, "What a container or service step runs."),
        "command": Field(
            Either(
                what="a script, or a list of its lines",
                scalar=Text(template=True),
                sequence=_Script(),
            ),
            "Script of a command step, run by `/bin/sh -e` on the node.",
        ),
        "environment": Field(ENVIRONMENT, "Variables of a command step.", nullable=True),
        "needs": Field(
            ListOf(item=STEP_NAME, most=MAX_STEPS, single=True, unique=True),
            "Steps that must end before; by default the one above.",
        ),
        "if": Field(_If(), "Condition under which the step runs; `success()` by default."),
        "always": Field(Flag(), "Run it also after a failure or a cancel."),
        "continue_on_error": Field(Flag(), "A failure of it does not fail the pipeline."),
        "timeout": Field(Duration(), "Limit of one attempt."),
        "retry": Field(RETRY, "Further attempts after a failure."),
        "outputs": Field(
            ListOf(item=_OUTPUT, most=1000, unique=True),
            "Names that the step may write to $GAMEPIPE_OUTPUT; any when absent.",
        ),
    },
    check=_check_step,
    rules=(
        {
            "if": {"required": ["type"], "properties": {"type": {"const": "command"}}},
            "then": {"required": ["command"], "not": {"required": ["container"]}},
            "else": {
                "required": ["container"],
                "not": {"anyOf": [{"required": ["command"]}, {"required": ["environment"]}]},
            },
        },
        {"not": {"required": ["always", "if"], "properties": {"always": {"const": True}}}},
        {"properties": {"outputs": {"items": {"not": {"const": PROGRESS}}}}},
    ),
    what="a mapping with `container` or `command`",
)


_AS_READ = (
    "type",
    "container",
    "command",
    "environment",
    "always",
    "continue_on_error",
    "retry",
    "outputs",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepDraft:
    """A step as read, perhaps with mistakes: the keys that are right, and what it refers to."""

    node: Node
    path: str
    values: dict[str, Any]
    holes: tuple[PlacedHole, ...]

    def build(self, index: int, name: str, needs: tuple[str, ...]) -> Step:
        """The step; only for a file without mistakes."""
        values = self.values
        step = Step(
            index=index,
            name=name,
            needs=needs,
            condition=values.get("if", ""),
            timeout_seconds=values.get("timeout"),
        )
        return replace(step, **{key: values[key] for key in _AS_READ if key in values})


class _StepKind:
    """Reads as a `StepDraft`, so that steps can be held against each other."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        before = len(reader.holes)
        values = _RECORD.read(node, path, reader)
        if values is INVALID:
            values = {}
        for number, name in enumerate(values.get("outputs", ())):
            if name == PROGRESS:
                remedy = "leave it out: any step may write it"
                reader.fail_at(f"{path}.outputs[{number}]", f"`{PROGRESS}` is no output", remedy)
        return StepDraft(node=node, path=path, values=values, holes=tuple(reader.holes[before:]))

    def schema(self) -> JsonObject:
        return _RECORD.schema()


STEP = _StepKind()
