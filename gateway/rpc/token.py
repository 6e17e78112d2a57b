"""Task tokens as agents get them: with the kind of work in front, so that its end fits it."""

from gamepipe.model.errors import InvalidRequest

ENDS = {
    "run_step": "step_result",
    "stop_step": "stop_answer",
    "stop_instance": "instance_end",
    "clean_workspace": "cleaned",
}
"""What ends each kind of work well; every order may also end as `failed`."""
_KINDS = {kind: bytes([place]) for place, kind in enumerate(ENDS, start=1)}
_NAMES = {mark: kind for kind, mark in _KINDS.items()}


def mark(kind: str, task_token: bytes) -> bytes:
    return _KINDS[kind] + task_token


def unmark(marked: bytes) -> tuple[str, bytes]:
    """(kind of work, Temporal's own token). Raises `InvalidRequest`."""
    kind = _NAMES.get(marked[:1])
    if kind is None or len(marked) < 2:
        raise InvalidRequest("this is no task token that a gateway has given")
    return kind, marked[1:]


def check_end(kind: str, end: str | None) -> None:
    """Raises `InvalidRequest` for an end of another kind of work."""
    if end not in (ENDS[kind], "failed"):
        raise InvalidRequest(f"`{kind}` ends with `{ENDS[kind]}` or `failed`, not with `{end}`")
