"""The pipeline file: its fields, parser, validation, binding, JSON Schema and codec."""

from gamepipe.definition.bind import Bound, bind
from gamepipe.definition.change import check_change
from gamepipe.definition.digest import content_digest
from gamepipe.definition.parse import parse_pipeline
from gamepipe.definition.schema import pipeline_schema

__all__ = ["Bound", "bind", "check_change", "content_digest", "parse_pipeline", "pipeline_schema"]
