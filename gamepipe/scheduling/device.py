"""GPUs as columns: what each device has, what is taken of it, and which of them suit a request."""

from collections.abc import Iterable, Sequence
from copy import copy
from operator import add, sub
from typing import TypeVar

import numpy as np

from gamepipe.model.gpu import ALL
from gamepipe.model.node import GameNode, GpuFacts
from gamepipe.model.spec import GpuRequest
from gamepipe.scheduling.amount import share_column, share_of
from gamepipe.scheduling.move import Move
from gamepipe.scheduling.policy import Capacity, sold
from gamepipe.scheduling.unit import LEFT_STEP, MILLIONTHS
from gamepipe.scheduling.values import ALL_ROWS, Amounts, Mask, Numbers, Rows, Some, numbered

T = TypeVar("T")
SHARE, VRAM, ENCODERS = range(3)
ABSENT = -1
NOTHING = -1
"""Less than whoever asks for none of it."""


class Devices:
    """[n, d, 3] totals and uses. A device that is taken whole or is not there has nothing left."""

    def __init__(self, nodes: Sequence[GameNode], capacity: Capacity) -> None:
        self._capacity = capacity
        count = len(nodes)
        width = max((len(node.facts.gpus) for node in nodes), default=0)
        self.total = np.zeros((count, width, 3), dtype=np.int64)
        self.used = np.zeros((count, width, 3), dtype=np.int64)
        self.whole = np.zeros((count, width), dtype=np.int64)
        """How many allocations hold the device for themselves: 0 or 1."""
        self.spare = np.full((count, width, 3), NOTHING, dtype=np.int64)
        """What a share may take; of a device that is taken whole or is not there `NOTHING`."""
        self.model = np.full((count, width), ABSENT, dtype=np.int64)
        """Index into `models`."""
        self.models: list[str] = []
        self.left: Numbers = np.zeros((count, width))
        """0..1, in steps: what is left of the scarcest resource of each device."""
        self.kind = np.full(count, ABSENT, dtype=np.int64)
        """Index into `kinds`."""
        self.kinds: list[tuple[tuple[str, int, int], ...]] = []
        """The different (model, VRAM, encoders) on a node: nodes of one kind serve the same."""
        self._slots: list[dict[int, int]] = [{} for _ in nodes]
        """Of each row: device index -> column."""
        for row, node in enumerate(nodes):
            self.put(row, node.facts.gpus)

    @property
    def width(self) -> int:
        return self.total.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Kinds, and devices of a node at most: both only grow."""
        return len(self.kinds), self.width

    def index_of(self, row: int, slot: int) -> int:
        """The node's own number of a device."""
        return next(index for index, at in self._slots[row].items() if at == slot)

    def count_on(self, row: int) -> int:
        """Devices of a node."""
        return len(self._slots[row])

    def slots_of(self, row: int, devices: Sequence[int]) -> list[int]:
        """The columns of those devices of a node that are there, by its own numbers of them."""
        return [self._slots[row][index] for index in devices if index in self._slots[row]]

    def totals_of(self, row: int, devices: Sequence[int]) -> list[list[int]]:
        """[d, 3]: what these devices of a node have, by its own numbers of them."""
        return [self.total[row, slot].tolist() for slot in self.slots_of(row, devices)]

    def without(self, rows: Rows, shares: Amounts, whole: Amounts) -> "Devices":
        """Those of some nodes, which may come more than once, with less taken of each: [c, d, 3] of
        shared ones, [c, d] of whole ones. It is only read."""
        less = copy(self)
        less.total, less.model = self.total[rows], self.model[rows]
        less.used, less.whole = self.used[rows] - shares, self.whole[rows] - whole
        there = less._there()
        less.left = fraction_left(less.total, less.used, there)
        less.spare = np.where(there[..., None], less.total - less.used, NOTHING)
        return less

    def moved(self, move: Move) -> "Devices":
        """Those of a fleet that nodes join; the new ones have none yet."""
        devices = copy(self)
        for name in ("total", "used", "whole", "left"):
            setattr(devices, name, move.column(getattr(self, name)))
        devices.spare = move.column(self.spare, NOTHING)
        devices.model = move.column(self.model, ABSENT)
        devices.kind = move.column(self.kind, ABSENT)
        devices.models, devices.kinds = [*self.models], [*self.kinds]
        devices._slots = move.places(self._slots, {})
        return devices

    # --- changes --------------------------------------------------------------------------------

    def put(self, row: int, gpus: Sequence[GpuFacts]) -> None:
        """The devices of a node, with nothing taken."""
        self._widen(len(gpus))
        for column in (self.total, self.used, self.whole):
            column[row] = 0
        self.model[row] = ABSENT
        self._slots[row] = {gpu.index: slot for slot, gpu in enumerate(gpus)}
        for slot, gpu in enumerate(gpus):
            self.total[row, slot] = self._sold(gpu.memory_bytes, gpu.encoders)
            self.model[row, slot] = _number(self.models, gpu.model)
        kind = tuple(sorted({(gpu.model, gpu.memory_bytes, gpu.encoders) for gpu in gpus}))
        self.kind[row] = _number(self.kinds, kind) if gpus else ABSENT
        self._weigh(row)

    def count(self, row: int, request: GpuRequest, devices: Sequence[int], sign: int) -> None:
        """Take the devices, or (`sign` -1) give them back."""
        asked = share_of(request)
        for slot in self.slots_of(row, devices):
            total, used = self.total[row, slot].tolist(), self.used[row, slot].tolist()
            if request.count:
                self.whole[row, slot] += sign
            else:
                used = [had + sign * more for had, more in zip(used, asked, strict=True)]
                self.used[row, slot] = used
            free = self.whole[row, slot] == 0
            self.left[row, slot] = _fraction_of_one(total, used) if free else 0.0
            self.spare[row, slot] = tuple(map(sub, total, used)) if free else NOTHING

    def _widen(self, count: int) -> None:
        """Make room for a node with more devices than any before."""
        more = count - self.width
        if more <= 0:
            return
        self.total = np.pad(self.total, ((0, 0), (0, more), (0, 0)))
        self.used = np.pad(self.used, ((0, 0), (0, more), (0, 0)))
        self.spare = np.pad(self.spare, ((0, 0), (0, more), (0, 0)), constant_values=NOTHING)
        self.whole = np.pad(self.whole, ((0, 0), (0, more)))
        self.model = np.pad(self.model, ((0, 0), (0, more)), constant_values=ABSENT)
        self.left = np.pad(self.left, ((0, 0), (0, more)))

    def _sold(self, vram_bytes: int, encoders: int) -> tuple[int, int, int]:
        by = self._capacity
        return (
            sold(MILLIONTHS * by.share_factor),
            sold(vram_bytes * by.vram_factor),
            sold(encoders * by.encoder_factor),
        )

    def _weigh(self, row: int) -> None:
        rows = slice(row, row + 1)
        total, used, there = self.total[rows], self.used[rows], self._there(rows)
        self.left[rows] = fraction_left(total, used, there)
        self.spare[rows] = np.where(there[..., None], total - used, NOTHING)

    def _there(self, rows: Some = ALL_ROWS) -> Mask:
        return (self.model[rows] != ABSENT) & (self.whole[rows] == 0)

    # --- questions, about all nodes or some rows of them -----------------------------------------

    def suit(self, request: GpuRequest, rows: Some = ALL_ROWS) -> Mask:
        """[n, d]: devices of a model that the request accepts."""
        model = self.model[rows]
        if not request.models:
            return model != ABSENT
        wanted = [name.lower() for name in request.models]
        accepted = [any(part in name.lower() for part in wanted) for name in self.models]
        return np.array([*accepted, False], dtype=bool)[model]  # ABSENT finds the last

    def free(self, rows: Some = ALL_ROWS) -> Mask:
        """[n, d]: of which nothing is taken."""
        used = self.used[rows]
        return self._there(rows) & ((used[..., 0] | used[..., 1] | used[..., 2]) == 0)

    def fit(self, request: GpuRequest, rows: Some = ALL_ROWS) -> Mask:
        """[n, d]: devices that the request can have, or have a share of."""
        if request.count:
            return self.suit(request, rows) & self.free(rows)
        fits = np.logical_and.reduce(self.spare[rows] >= share_column(request), axis=-1)
        return fits & self.suit(request, rows) if request.models else fits

    def wanted(self, request: GpuRequest, rows: Some = ALL_ROWS) -> Amounts:
        """[n]: how many devices the request wants of each node."""
        if request.count == ALL:
            return np.maximum(self.suit(request, rows).sum(axis=1), 1)
        return np.full(len(self.model[rows]), max(request.count, 1), dtype=np.int64)

    def picked(self, request: GpuRequest, rows: Some = ALL_ROWS) -> tuple[Mask, Mask]:
        """[n, d] and [n]: devices that the request gets on each node (whole free ones, or the
        fullest that has room), and where there are enough."""
        fit = self.fit(request, rows)
        if request.is_empty:
            return np.zeros_like(fit), np.ones(len(fit), dtype=bool)
        if request.count:
            wanted = self.wanted(request, rows)
            picked = fit & (np.cumsum(fit, axis=1) <= wanted[:, None])
            return picked, (picked.sum(axis=1) == wanted)
        fullest = np.where(fit, self.left[rows], np.inf).argmin(axis=1) if self.width else 0
        picked = fit & (np.arange(self.width) == np.asarray(fullest).reshape(-1, 1))
        return picked, picked.any(axis=1)

    def enough(self, request: GpuRequest, rows: Some = ALL_ROWS) -> Mask:
        """[n]: where there are as many devices as the request wants."""
        if request.is_empty:
            return np.ones(len(self.kind[rows]), dtype=bool)
        fit = self.fit(request, rows)
        if not request.count:
            return np.logical_or.reduce(fit, axis=1)
        return fit.sum(axis=1) >= self.wanted(request, rows)

    def left_behind(self, request: GpuRequest, picked: Mask, rows: Some = ALL_ROWS) -> Numbers:
        """[n, d]: `left` once the request has got what it picked."""
        left = self.left[rows]
        if request.is_empty or not self.width:
            return left
        if request.count:
            return np.where(picked, 0.0, left)
        here, slot = np.nonzero(picked)  # at most one of a node
        at = numbered(rows, len(self.left))[here]
        used = self.used[at, slot] + share_column(request)
        after = left.copy()
        after[here, slot] = fraction_left(self.total[at, slot], used, np.ones(len(at), dtype=bool))
        return after

    def taken(self, request: GpuRequest, picked: Mask, rows: Some = ALL_ROWS) -> Numbers:
        """[n]: by how much less would be left."""
        return (self.left[rows] - self.left_behind(request, picked, rows)).sum(axis=1)

    def most_taken(self, request: GpuRequest) -> float:
        """[GPUs]: less than this is left on no node once it serves the request, by the kinds of
        devices that there are, and the most that are on one node. It holds while `shape` does."""
        if request.count:
            return float(self.width if request.count == ALL else request.count)
        parts = [
            want / have
            for kind in self.kinds
            for _, vram_bytes, encoders in kind
            for want, have in zip(share_of(request), self._sold(vram_bytes, encoders), strict=True)
            if want and have
        ]
        return min(max(parts, default=0.0), 1.0)

    # --- questions about one node: numpy takes longer there ---------------------------------------

    def pick(self, request: GpuRequest, row: int) -> tuple[int, ...]:
        """The node's own numbers of the devices that the request gets there, as `picked`."""
        return tuple(self.index_of(row, slot) for slot in self._slots_for(request, row))

    def left_after(self, request: GpuRequest, row: int) -> list[float]:
        """`left_behind` of one node; where the request does not fit, what is left now."""
        left: list[float] = self.left[row].tolist()
        asked = share_of(request)
        for slot in self._slots_for(request, row):
            if request.count:
                left[slot] = 0.0
            else:
                used = map(add, self.used[row, slot].tolist(), asked)
                left[slot] = _fraction_of_one(self.total[row, slot].tolist(), used)
        return left

    def _slots_for(self, request: GpuRequest, row: int) -> list[int]:
        if request.is_empty:
            return []
        if request.count:
            rows = slice(row, row + 1)
            fit = np.flatnonzero(self.fit(request, rows)[0]).tolist()
            return list(fit[: int(self.wanted(request, rows)[0])])
        share, vram, encoders = share_of(request)
        suits = self.suit(request, slice(row, row + 1))[0].tolist() if request.models else None
        fit = [
            slot
            for slot, (free, memory, sessions) in enumerate(self.spare[row].tolist())
            if share <= free and vram <= memory and encoders <= sessions
            if suits is None or suits[slot]
        ]
        left = self.left[row].tolist()
        return [min(fit, key=left.__getitem__)] if fit else []


def fraction_left(total: Amounts, used: Amounts, there: Mask) -> Numbers:
    """[..., d] of [..., d, 3]: of each device the scarcest resource, to the nearest step; what
    nobody counted is left out. A device that is not there has nothing."""
    parts = 1.0 - used / np.where(total > 0, total, np.inf)
    least = np.minimum.reduce(parts, axis=-1)
    steps = np.rint(np.minimum(np.maximum(least, 0.0), 1.0) / LEFT_STEP)
    return np.where(there, steps * LEFT_STEP, 0.0)


def _fraction_of_one(total: Iterable[int], used: Iterable[int]) -> float:
    """`fraction_left` of a device that is there: for one, numpy takes longer."""
    parts = [1.0 - taken / there for there, taken in zip(total, used, strict=True) if there > 0]
    return round(min(max(min(parts, default=1.0), 0.0), 1.0) / LEFT_STEP) * LEFT_STEP


def _number(known: list[T], value: T) -> int:
    if value not in known:
        known.append(value)
    return known.index(value)
