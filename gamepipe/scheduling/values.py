"""Shapes of columns: `n` nodes, `d` devices a node at most, `m` classes of requests."""

from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
"""Indices of nodes."""
Amounts = NDArray[np.int64]
"""Whole units: millionths, bytes, sessions."""
Numbers = NDArray[np.floating]
Some = Rows | slice
"""Of the nodes; columns that are asked for some rows have a row for each of them."""
ALL_ROWS = slice(None)
FEW = 64


def are_few(rows: Some) -> TypeGuard[Rows]:
    """Whether it costs less to look at those rows than to make a column of all nodes."""
    return not isinstance(rows, slice) and len(rows) <= FEW


def numbered(rows: Some, count: int) -> Rows:
    """The same rows of `count` nodes, one by one."""
    return np.arange(count)[rows] if isinstance(rows, slice) else rows
