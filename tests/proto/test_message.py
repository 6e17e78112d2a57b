"""The messages of the contract hold everything that the service's own values hold."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from gamepipe import wire
from gamepipe.v1 import step_pb2
from gamepipe.wire.message import from_message, to_message

MIRRORED = {
    wire.StepAssignment: step_pb2.StepAssignment,
    wire.StepResult: step_pb2.StepResult,
    wire.StopStep: step_pb2.StopStep,
    wire.StopAnswer: step_pb2.StopAnswer,
    wire.StopInstanceOrder: step_pb2.StopInstanceOrder,
    wire.InstanceEnd: step_pb2.InstanceEnd,
    wire.CleanWorkspace: step_pb2.CleanWorkspace,
}
NUMBERS = st.integers(0, 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
st.register_type_strategy(int, NUMBERS)
st.register_type_strategy(str, TEXTS)
st.register_type_strategy(float, st.floats(0, 1e9, allow_nan=False))
st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))


def inner(hint: Any) -> Iterator[type]:
    """The dataclasses that a type names, through tuples, mappings and None."""
    if get_origin(hint) in (Union, UnionType, tuple, dict):
        for part in get_args(hint):
            yield from inner(part)
    elif is_dataclass(hint) and isinstance(hint, type):
        yield hint


def pairs(kind: type, message: Descriptor) -> Iterator[tuple[type, Descriptor]]:
    """A dataclass and its message, then those of its fields."""
    yield kind, message
    hints = get_type_hints(kind)
    for name, field in message.fields_by_name.items():
        for nested in inner(hints.get(name)):
            yield from pairs(nested, field.message_type)


@pytest.mark.parametrize("kind", MIRRORED, ids=lambda kind: kind.__name__)
def test_every_field_has_its_field_in_the_message(kind: type) -> None:
    for value, message in pairs(kind, MIRRORED[kind].DESCRIPTOR):
        assert {one.name for one in fields(value)} == set(message.fields_by_name), value


@pytest.mark.parametrize("kind", MIRRORED, ids=lambda kind: kind.__name__)
def test_what_may_be_none_may_be_absent(kind: type) -> None:
    for value, message in pairs(kind, MIRRORED[kind].DESCRIPTOR):
        for name, hint in get_type_hints(value).items():
            field: FieldDescriptor = message.fields_by_name[name]
            if type(None) in get_args(hint):
                assert field.has_presence, f"{message.name}.{name}"


@pytest.mark.parametrize("kind", MIRRORED, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_value_survives_the_way_there_and_back(kind: type, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    message = to_message(value, MIRRORED[kind]())
    read = type(message).FromString(message.SerializeToString())
    assert from_message(read, kind) == value
