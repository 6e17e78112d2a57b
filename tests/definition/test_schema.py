"""The JSON Schema, and that it, the parser, the examples and the reference agree."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from gamepipe.definition import pipeline_schema
from tests.definition.conftest import EXAMPLES, ROOT

SCHEMA = pipeline_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def properties(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every key that the schema knows, at any depth, with its own schema."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
    parts = (
        schema
        if isinstance(schema, list)
        else [
            below
            for key, below in schema.items()
            if key != "allOf"  # rules, nothing to complete
        ]
    )
    for below in parts:
        if isinstance(below, dict | list):
            yield from properties(below)


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_it_is_a_schema_of_the_dialect_that_it_names() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_described() -> None:
    assert [name for name, below in properties(SCHEMA) if not below.get("description")] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_accepts_the_examples(path: Path) -> None:
    VALIDATOR.validate(load(path.read_text(encoding="utf-8")))


def test_it_accepts_the_platforms_own_file(beagle_text: str) -> None:
    VALIDATOR.validate(load(beagle_text))


@pytest.mark.parametrize(
    "text",
    [
        "name: x",
        "name: x\nsteps: []",
        "name: x\nstep: []\nsteps: [{type: command, command: a}]",
        "name: x\nsteps: [{type: comand, command: a}]",
        "name: x\nsteps: [{container: {imgae: a}}]",
        "name: x\nsteps: [{container: {image: a, build: .}}]",
        "name: x\nsteps: [{type: command, command: a, retry: {max_attempts: 101}}]",
        "name: x\nsteps: [{type: command, command: a, timeout: 5x}]",
        "name: x\nresources: {memory: 4GB}\nsteps: [{type: command, command: a}]",
        "name: x\nid: -a\nsteps: [{type: command, command: a}]",
    ],
)
def test_it_refuses_what_the_parser_refuses(text: str) -> None:
    assert not VALIDATOR.is_valid(load(text))


def test_the_reference_names_every_key() -> None:
    reference = (ROOT / "docs" / "pipeline-file.md").read_text(encoding="utf-8")
    known = {name for name, _ in properties(SCHEMA)}
    assert len(known) > 70
    named = set(re.findall(r"[\w-]+", " ".join(re.findall(r"`[^`\n]+`", reference))))
    assert known - named == set()
