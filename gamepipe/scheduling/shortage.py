"""Too little of something: cores, memory, disk, GPUs."""

from collections.abc import Iterator, Sequence

from gamepipe.model.gpu import ALL
from gamepipe.model.node import GpuFacts
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.amount import amounts_of
from gamepipe.scheduling.fleet import CPU, DISK, MEMORY, Fleet
from gamepipe.scheduling.obstacle import Obstacle
from gamepipe.scheduling.share import shortage
from gamepipe.scheduling.unit import MILLIONTHS
from gamepipe.scheduling.values import Some

GIB = 1 << 30


def obstacles(resources: Resources, fleet: Fleet, rows: Some) -> Iterator[Obstacle]:
    """Cores, memory, disk; then GPUs. Who asks for nothing of a thing is not short of it."""
    asked = amounts_of(resources)
    for kind, code in ((CPU, "CPU"), (MEMORY, "MEMORY"), (DISK, "DISK")):
        if asked[kind]:
            yield _amount(fleet, rows, code, kind, asked[kind])
    if not resources.gpu.is_empty:
        _, enough = fleet.devices.picked(resources.gpu, rows)
        yield Obstacle(
            code="GPU_SHORT", where=~enough, say=lambda row: _gpu(resources.gpu, fleet, row)
        )


def _amount(fleet: Fleet, rows: Some, code: str, kind: int, asked: int) -> Obstacle:
    def say(row: int) -> str:
        free = max(int(fleet.left[row, kind]), 0)
        if kind == CPU:
            return f"has {free / MILLIONTHS:g} of {asked / MILLIONTHS:g} cores free"
        return f"has {free / GIB:.1f} of {asked / GIB:.1f} GiB {code.lower()} free"

    return Obstacle(code=f"{code}_SHORT", where=fleet.left[rows, kind] < asked, say=say)


def _gpu(request: GpuRequest, fleet: Fleet, row: int) -> str:
    rows = slice(row, row + 1)
    suitable = fleet.devices.suit(request, rows)[0]
    if not suitable.any():
        wanted = f" of model {', '.join(request.models)}" if request.models else ""
        return f"has no GPU{wanted}"
    if request.count:
        free = int(fleet.devices.fit(request, rows).sum())
        every = ", and all are asked for" if request.count == ALL else ""
        return f"has {free} of {fleet.devices.wanted(request, rows)[0]} GPU(s) free{every}"
    gpus = [gpu for slot, gpu in enumerate(fleet.nodes[row].facts.gpus) if suitable[slot]]
    lacks = shortage(request, fleet.devices, row) or "what would suit is held whole"
    return f"has no GPU with enough of it left: {lacks}{_unknown(request, gpus)}"


def _unknown(request: GpuRequest, gpus: Sequence[GpuFacts]) -> str:
    """What nobody counted is not shared out."""
    for asked, fact, what in (
        (request.encoders, "encoders", "NVENC sessions"),
        (request.vram_bytes, "memory_bytes", "memory"),
    ):
        models = ", ".join(dict.fromkeys(gpu.model for gpu in gpus if not getattr(gpu, fact)))
        if asked and models:
            remedy = f"declare `{fact}` of `gpus` with --facts"
            return f" ({what} of {models}: unknown, or none; {remedy})"
    return ""
