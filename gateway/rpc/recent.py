"""A table that keeps only what was used last."""

from collections import OrderedDict
from typing import Generic, TypeVar

AT_MOST = 1024
"""More than the work that one node has at a time."""
V = TypeVar("V")


class Recent(Generic[V]):
    """Values by token; one that is not there, or was forgotten, is `absent`."""

    def __init__(self, absent: V, *, at_most: int = AT_MOST) -> None:
        self._absent = absent
        self._at_most = at_most
        self._values: OrderedDict[bytes, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, token: bytes) -> V:
        if token not in self._values:
            return self._absent
        self._values.move_to_end(token)
        return self._values[token]

    def __setitem__(self, token: bytes, value: V) -> None:
        self._values[token] = value
        self._values.move_to_end(token)
        if len(self._values) > self._at_most:
            self._values.popitem(last=False)

    def drop(self, token: bytes) -> None:
        self._values.pop(token, None)
