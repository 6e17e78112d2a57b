"""What could be changed where the GPUs of a node do not do."""

from collections.abc import Iterator

import numpy as np

from gamepipe.model.gpu import ALL
from gamepipe.model.spec import GpuRequest
from gamepipe.scheduling.amount import share_column
from gamepipe.scheduling.device import Devices
from gamepipe.scheduling.quantity import Change, counted
from gamepipe.scheduling.share import lacking, parts, said
from gamepipe.scheduling.values import Amounts

ASK, MODEL, ADD = 1.0, 1.5, 2.0
"""Sizes: to ask for less, to take any model, to put hardware in."""


def changes(request: GpuRequest, devices: Devices, row: int) -> Iterator[Change]:
    """Each by itself would do."""
    rows = slice(row, row + 1)
    if request.count:
        yield from _whole(request, devices, rows)
    elif devices.suit(request, rows).any():
        yield from _shared(request, devices, row)
    else:
        yield _add(request, 1)
    yield from _any_model(request, devices, rows)


def _whole(request: GpuRequest, devices: Devices, rows: slice) -> Iterator[Change]:
    wanted = int(devices.wanted(request, rows)[0])
    there = int(devices.suit(request, rows).sum())
    free = int(devices.fit(request, rows).sum())
    part = (wanted - free) / wanted
    if there >= wanted:
        words = f"free {_gpus(request, wanted - free)} on {{node}}"
        yield Change(kind="free GPU", words=words, size=part)
    else:
        yield _add(request, wanted - there)
    if free:
        words = f"ask for {counted(free, 'GPU')} instead of {_asked(request)}"
        yield Change(kind="ask GPU", words=words, size=ASK + part)


def _any_model(request: GpuRequest, devices: Devices, rows: slice) -> Iterator[Change]:
    if not request.models:
        return
    open_request = GpuRequest(
        count=request.count,
        vram_bytes=request.vram_bytes,
        encoders=request.encoders,
        share=request.share,
    )
    if devices.picked(open_request, rows)[1].any():
        words = f"drop resources.gpu.model {', '.join(request.models)}"
        yield Change(kind="model", words=words, size=MODEL)


def _shared(request: GpuRequest, devices: Devices, row: int) -> Iterator[Change]:
    """Of the device that needs the least."""
    asked = share_column(request)
    suitable = [int(slot) for slot in np.flatnonzero(devices.suit(request, slice(row, row + 1)))]
    large = [slot for slot in suitable if (asked <= devices.total[row, slot]).all()]
    if large:
        yield min((_free(asked, devices, row, slot) for slot in large), key=lambda one: one.size)
    less = [one for slot in suitable if (one := _ask(asked, devices, row, slot))]
    if less:
        yield min(less, key=lambda one: one.size)
    if not large and not less:
        yield _add(request, 1)


def _free(asked: Amounts, devices: Devices, row: int, slot: int) -> Change:
    at = f"GPU {devices.index_of(row, slot)} of {{node}}"
    if devices.whole[row, slot]:
        return Change(kind="free share", words=f"free {at}", size=1.0)
    short = lacking(asked, devices, row, slot)
    part = float((short / np.maximum(asked, 1)).max())
    return Change(kind="free share", words=f"free {said(parts(short))} on {at}", size=part)


def _ask(asked: Amounts, devices: Devices, row: int, slot: int) -> Change | None:
    """None where nothing is left of something that is asked for."""
    left = devices.total[row, slot] - devices.used[row, slot]
    short = asked > left
    if devices.whole[row, slot] or (left[short] <= 0).any():
        return None
    part = float(((asked - left) / np.maximum(asked, 1)).max())
    less, more = (
        parts(np.where(short, amounts, 0), up=amounts is asked) for amounts in (left, asked)
    )
    instead = more[0][0] if len(more) == 1 else said(more)
    words = f"ask for {said(less)} instead of {instead}"
    return Change(kind="ask share", words=words, size=ASK + part)


def _add(request: GpuRequest, count: int) -> Change:
    return Change(kind="add GPU", words=f"add {_gpus(request, count)} to {{node}}", size=ADD)


def _gpus(request: GpuRequest, count: int) -> str:
    return counted(count, "GPU") + (
        f" of model {' or '.join(request.models)}" if request.models else ""
    )


def _asked(request: GpuRequest) -> str:
    return "all" if request.count == ALL else str(request.count)
