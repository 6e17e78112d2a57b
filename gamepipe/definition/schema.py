"""JSON Schema of the pipeline file, made from the very kinds that the parser reads with."""

from gamepipe.definition.document import DOCUMENT
from gamepipe.model.spec import JsonObject

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def pipeline_schema() -> JsonObject:
    """JSON Schema 2020-12 with descriptions, for completion in editors.

    It accepts every file that the parser accepts, and refuses what the parser refuses as far as a
    schema can say it. That is not: what steps have to do with each other (names, references,
    cycles, GPUs), the inside of conditions and templates, IPv6 addresses, limits of quoted numbers
    and texts with units, two mounts on one folder, a `retry.max` below `initial`, and how a number
    is written.
    """
    return {
        "$schema": _DIALECT,
        "title": "Pipeline file",
        "description": "A pipeline of the Game Pipeline Service.",
        **DOCUMENT.schema(),
    }
