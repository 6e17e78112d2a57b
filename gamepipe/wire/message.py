"""The same values as messages of the gRPC contract: field for field, by name.

Kept out of the package's front door, so that workflows load no protobuf.
"""

import dataclasses
from functools import cache
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from pydantic import TypeAdapter

from gamepipe.model.record import AttemptKey
from gamepipe.v1 import step_pb2

M = TypeVar("M", bound=Message)
V = TypeVar("V")


def key_message(key: AttemptKey) -> step_pb2.AttemptKey:
    return step_pb2.AttemptKey(
        pipeline_id=key.pipeline_id,
        generation=key.generation,
        step_index=key.step_index,
        attempt=key.attempt,
    )


def attempt_key(message: step_pb2.AttemptKey) -> AttemptKey:
    return AttemptKey(
        pipeline_id=message.pipeline_id,
        generation=message.generation,
        step_index=message.step_index,
        attempt=message.attempt,
    )


def to_message(value: object, message: M) -> M:
    """Fill `message` from a dataclass whose fields it mirrors; None stays absent."""
    kind: Any = type(value)
    data = _adapter(kind).dump_python(value, mode="json", exclude_none=True)
    return json_format.ParseDict(data, message)


def from_message(message: Message, kind: type[V]) -> V:
    """The dataclass that `message` mirrors. Raises `ValueError` for what it may not hold."""
    mirrored: Any = kind
    data = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    value: V = _adapter(mirrored).validate_python(_absent(mirrored) | data)
    return value


@cache
def _absent(kind: Any) -> dict[str, None]:
    """Fields without a default: a message that leaves one out means None."""
    return {
        field.name: None
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
