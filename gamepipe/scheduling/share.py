"""Shares of one GPU: what of it is short, and in words."""

import numpy as np

from gamepipe.model.spec import GpuRequest
from gamepipe.scheduling.amount import share_column
from gamepipe.scheduling.device import ENCODERS, SHARE, VRAM, Devices
from gamepipe.scheduling.quantity import size_down, size_up
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.scheduling.values import Amounts


def lacking(asked: Amounts, devices: Devices, row: int, slot: int) -> Amounts:
    """[3]: what a device would have to have more of."""
    return np.maximum(devices.used[row, slot] + asked - devices.total[row, slot], 0)


def shortage(request: GpuRequest, devices: Devices, row: int) -> str:
    """Of the device of a node that lacks the least; empty where all are held whole."""
    asked = share_column(request)
    suitable = devices.suit(request, slice(row, row + 1))[0] & (devices.whole[row] == 0)
    if not suitable.any():
        return ""
    slots = map(int, np.flatnonzero(suitable))
    lacks = {slot: lacking(asked, devices, row, slot) for slot in slots}
    best = min(lacks, key=lambda slot: float((lacks[slot] / np.maximum(asked, 1)).max()))
    return f"GPU {devices.index_of(row, best)} lacks {said(parts(lacks[best]))}"


def parts(amounts: Amounts, *, up: bool = True) -> list[tuple[str, str]]:
    """How much, and of what: `4 GiB`, ` of GPU memory`."""
    found = []
    vram, encoders, share = int(amounts[VRAM]), int(amounts[ENCODERS]), int(amounts[SHARE])
    if vram:
        found.append((size_up(vram) if up else size_down(vram), " of GPU memory"))
    if encoders:
        found.append((str(encoders), f" NVENC session{'' if encoders == 1 else 's'}"))
    if share:
        found.append((f"{share / MILLIONTHS:.0%}", " of compute"))
    return found


def said(amounts: list[tuple[str, str]]) -> str:
    return " and ".join(amount + what for amount, what in amounts)
