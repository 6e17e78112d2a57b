"""A `PipelineSpec` as plain JSON and back, for the store."""

from typing import cast

from pydantic import TypeAdapter

from gamepipe.model.spec import JsonObject, PipelineSpec

_SPEC = TypeAdapter(PipelineSpec)


def encode_spec(spec: PipelineSpec) -> JsonObject:
    """The spec as JSON-ready values (dicts, lists, texts, numbers)."""
    return cast(JsonObject, _SPEC.dump_python(spec, mode="json"))


def encode_text(spec: PipelineSpec) -> bytes:
    """The spec as JSON in UTF-8, as long as it is in a payload."""
    return _SPEC.dump_json(spec)


def encode_stated(spec: PipelineSpec) -> JsonObject:
    """Only what differs from the defaults, so that a new field changes nothing for old specs."""
    return cast(JsonObject, _SPEC.dump_python(spec, mode="json", exclude_defaults=True))


def decode_spec(data: JsonObject) -> PipelineSpec:
    """The spec that `encode_spec` wrote; raises `pydantic.ValidationError` for anything else."""
    return _SPEC.validate_python(data)
