"""Whatever a file holds, the parser answers with a spec or with places and remedies."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from gamepipe.definition import parse_pipeline, pipeline_schema
from gamepipe.definition.codec import decode_spec, encode_spec
from gamepipe.model.errors import InvalidPipeline
from gamepipe.model.spec import PipelineSpec
from tests.definition.conftest import EXAMPLES

VALIDATOR = Draft202012Validator(pipeline_schema())
TEXTS = [path.read_text(encoding="utf-8") for path in EXAMPLES]
BITS = [
    *("name: ", "steps:", "\n", "  ", "- ", "{", "}", "[", "]", ",", ": ", "'", '"', "|", ">", "#"),
    *("&a", "*a", "<<: *a", "!!str", "!x", "---", "...", "%YAML 1.2", "\t", "\r\n", "\ufeff", "\0"),
    *(
        "${{ args.A }}",
        "${{",
        "}}",
        "$${{",
        "if: ",
        "needs: ",
        "always()",
        "steps.a.state",
        "é",
        "😀",
    ),
    *("type: command", "container: ", "image: a", "args:", "1e999", "0x10", "null", "~", "? "),
]
WORDS = st.sampled_from(
    ["a", "b", "", "1", "true", "${{ args.A }}", "${{ steps.a.outputs.b }}", "80:80", "/a:/b", "5s"]
)
KEYS = st.sampled_from(
    [
        *("name", "steps", "type", "command", "container", "image", "needs", "if", "args", "envs"),
        *("ports", "volumes", "environment", "retry", "timeout", "resources", "gpu", "deploy", "x"),
        *("placement", "match", "healthcheck", "test", "labels", "outputs", "max_attempts", "id"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
STEPS = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("command"), "command": WORDS},
        optional={
            "name": WORDS,
            "needs": st.lists(WORDS, max_size=3) | WORDS,
            "if": st.sampled_from(["always()", "failure()", "steps.a.state == 'failed'", "args.A"]),
            "outputs": st.lists(WORDS, max_size=2),
            "timeout": WORDS | st.integers(),
        },
    ),
    max_size=6,
)


def read(data: str | bytes) -> PipelineSpec | InvalidPipeline:
    """The spec or the mistakes; anything else that is raised fails the test."""
    try:
        return parse_pipeline(data, file="f")
    except InvalidPipeline as error:
        return error


def hold(text: str) -> PipelineSpec | None:
    """The spec, or None after looking at how the mistakes are told."""
    result = read(text)
    if isinstance(result, PipelineSpec):
        return result
    assert result.mistakes
    last = 2 + sum(map(text.count, "\n\r\x85\u2028\u2029"))
    for mistake in result.mistakes:
        assert mistake.problem
        assert mistake.remedy
        assert 0 <= mistake.line <= last
        assert mistake.column >= (1 if mistake.line else 0)
    return None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    hold(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(BITS), max_size=40).map("".join))
def test_bits_of_yaml(text: str) -> None:
    hold(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    assert isinstance(read(data), InvalidPipeline)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_examples_with_a_piece_changed(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    piece = data.draw(st.sampled_from(BITS) | st.text(max_size=5))
    spec = hold(text[:at] + piece + text[at + length :])
    assert spec is None or decode_spec(encode_spec(spec)) == spec


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_any_document(value: Any) -> None:
    hold(json.dumps(value))


@settings(max_examples=200, deadline=None)
@given(STEPS, st.dictionaries(KEYS, VALUES, max_size=2))
def test_what_the_parser_accepts_the_schema_accepts_too(steps: Any, more: Any) -> None:
    text = json.dumps({**more, "name": "x", "args": ["A"], "steps": steps})
    spec = hold(text)
    if spec is None:
        return
    VALIDATOR.validate(YAML(typ="safe", pure=True).load(text))
    assert decode_spec(json.loads(json.dumps(encode_spec(spec)))) == spec
