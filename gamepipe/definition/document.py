"""The whole pipeline file: its top-level keys."""

from typing import Any

from gamepipe.definition.kind import Choice, Number, Text
from gamepipe.definition.parameter import Parameters
from gamepipe.definition.place import PLACEMENT
from gamepipe.definition.resource import RESOURCES
from gamepipe.definition.shape import Field, ListOf, Record, TextMap
from gamepipe.definition.step import MAX_STEPS, STEP
from gamepipe.definition.unit import Duration
from gamepipe.model.spec import OnNodeLost, Timeouts

_LINE = r"[^\x00-\x1f\x7f]+"
_ID = "[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_LABEL = Text(
    what="a label's name (letters, digits, `.`, `_`, `-`, `/`)",
    pattern="[A-Za-z0-9][A-Za-z0-9._/-]*",
    max_length=128,
)


def _build_timeouts(values: dict[str, Any]) -> Timeouts:
    return Timeouts(**{f"{key}_seconds": value for key, value in values.items()})


TIMEOUTS = Record(
    fields={
        "pipeline": Field(Duration(), "Limit of the whole run, waiting for a node included."),
        "queue": Field(Duration(), "Limit of the wait for a node."),
        "step": Field(Duration(), "Limit of one attempt of each step without its own `timeout`."),
        "grace": Field(Duration(zero=True), "Time between TERM and KILL."),
    },
    build=_build_timeouts,
)

DOCUMENT = Record(
    fields={
        "name": Field(
            Text(what="a text of one line", scalars=True, pattern=_LINE, max_length=200),
            "Name of the pipeline.",
            True,
        ),
        "description": Field(
            Text(scalars=True, empty=True, max_length=10_000), "What it does.", nullable=True
        ),
        "id": Field(
            Text(what="an id (1 to 63 letters, digits, `.`, `_`, `-`)", scalars=True, pattern=_ID),
            "Id of the pipeline; made when absent.",
        ),
        "model": Field(
            Text(what="a text of one line", scalars=True, pattern=_LINE, max_length=200),
            "Template that it was made from.",
        ),
        "tenant": Field(
            Text(what="a tenant (1 to 63 letters, digits, `.`, `_`, `-`)", pattern=_ID),
            "Who it belongs to (default `default`).",
        ),
        "priority": Field(
            Number(low=-1000, high=1000, whole=True), "Higher ones are placed first (default 0)."
        ),
        "labels": Field(
            TextMap(key=_LABEL, value=Text(scalars=True, empty=True, max_length=1000)),
            "Labels to find it by.",
            nullable=True,
        ),
        "envs": Field(Parameters(), "Values from outside, kept secret.", nullable=True),
        "args": Field(Parameters(), "Values from outside, shown openly.", nullable=True),
        "secrets": Field(Parameters(), "Secrets from outside.", nullable=True),
        "resources": Field(RESOURCES, "What it needs of a node."),
        "placement": Field(PLACEMENT, "Which node it may run on."),
        "timeouts": Field(TIMEOUTS, "Limits of time."),
        "on_node_lost": Field(
            Choice(values=OnNodeLost), "What a lost node means: fail (default), reschedule, wait."
        ),
        "steps": Field(
            ListOf(item=STEP, least=1, most=MAX_STEPS, keep_invalid=True), "What to run.", True
        ),
    },
    extensions=True,
    what="a mapping with `name` and `steps`",
)
