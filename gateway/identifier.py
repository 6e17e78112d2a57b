"""Ids of pipelines: given, or made from the name and chance."""

import re
import secrets

from gamepipe.model.errors import InvalidRequest

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_STRANGE = re.compile(r"[^a-z0-9]+")


def check_pipeline_id(text: str) -> None:
    """Raises `InvalidRequest` for what is no id."""
    if not _ID.fullmatch(text):
        raise InvalidRequest(
            f"{text!r} is no pipeline id: 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit"
        )


def new_pipeline_id(name: str) -> str:
    """A readable id: a part of the name (if it has ASCII letters) and 10 random letters."""
    stem = _STRANGE.sub("-", name.lower()).strip("-")[:40].rstrip("-") or "pipeline"
    return f"{stem}-{secrets.token_hex(5)}"
