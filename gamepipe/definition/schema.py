"""JSON Schema of the pipeline file, made from the very kinds that the parser reads with."""

from gamepipe.definition.document import DOCUMENT
from gamepipe.model.spec import JsonObject

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def pipeline_schema() -> JsonObject:
    """JSON Schema 2020-12 with descriptions, for completion in editors.

    It accepts every file that the parser accepts; the parser also checks what a schema cannot
    say (references, cycles, ranges of durations and sizes, which keys go with which type).
    """
    return {
        "$schema": _DIALECT,
        "title": "Pipeline file",
        "description": "A pipeline of the Game Pipeline Service.",
        **DOCUMENT.schema(),
    }
