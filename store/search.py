"""What a search for log lines matches; no expression can make it slow."""

from collections.abc import Callable

import re2

from gamepipe.model.errors import InvalidRequest
from gamepipe.ports import LogQuery

MOST_MEMORY = 8 << 20
"""Bytes that one compiled expression may take."""


def matcher(query: LogQuery) -> Callable[[str], bool]:
    """Whether a line is searched for. Raises `InvalidRequest` for what is no expression."""
    if not query.search:
        return lambda _: True
    if not query.regex:
        return lambda text: query.search in text
    options = re2.Options()
    options.max_mem, options.log_errors = MOST_MEMORY, False
    try:
        expression = re2.compile(query.search, options=options)
    except re2.error as error:
        raise InvalidRequest(
            f"{query.search!r} is no regular expression of RE2: {_text(error)}; look-around and "
            "back-references are not there"
        ) from error
    return lambda text: expression.search(text) is not None


def _text(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
