"""What people change of a pipeline without its file, held to the rules of the file."""

import json
from collections.abc import Mapping
from dataclasses import replace

from gamepipe.definition.document import DOCUMENT
from gamepipe.definition.kind import Reader, TooManyMistakes
from gamepipe.definition.shape import Record
from gamepipe.definition.source import SourceError, read_source
from gamepipe.model.errors import InvalidRequest

_CHANGEABLE = Record(
    fields={
        name: replace(DOCUMENT.fields[name], required=False)
        for name in ("name", "labels", "priority")
    }
)


def check_change(
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    priority: int | None = None,
) -> None:
    """Raises `InvalidRequest` with every mistake; None is no change."""
    given = {"name": name, "labels": labels, "priority": priority}
    text = json.dumps({key: value for key, value in given.items() if value is not None})
    reader = Reader()
    try:
        _CHANGEABLE.read(read_source(text), "", reader)
    except SourceError as error:
        raise InvalidRequest(f"{error.problem}; {error.remedy}") from None
    except TooManyMistakes:
        pass  # they are told as far as they go
    if reader.mistakes:
        told = (f"{one.path}: {one.problem}; {one.remedy}" for one in reader.mistakes[:20])
        raise InvalidRequest("\n".join(told))
