"""GPUs by NVML: which there are and what they do. One that fails is left out, never fatal."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pynvml
import structlog

from gamepipe.agent.encoder import is_limited, sessions_of
from gamepipe.model.node import GpuFacts, GpuUse

_log = structlog.get_logger()
_T = TypeVar("_T")
_REMEDY = "look at `nvidia-smi` on the node; restart the agent once it lists the GPU"
_ALL = -1


def detect_gpus() -> tuple[GpuFacts, ...]:
    """Devices that NVML knows and can describe; none where there is no NVIDIA driver."""
    if not _begin():
        return ()
    try:
        count, driver = pynvml.nvmlDeviceGetCount(), _text(pynvml.nvmlSystemGetDriverVersion())
        found = tuple(gpu for index in range(count) if (gpu := _described(index)) is not None)
    except pynvml.NVMLError as error:
        _log.warning("gpus.unknown", action="gpus.unknown", error=str(error), remedy=_REMEDY)
        return ()
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()
    limited = sum(is_limited(gpu.model) for gpu in found)
    return tuple(
        replace(gpu, encoders=sessions_of(gpu.model, driver=driver, limited_cards=limited))
        for gpu in found
    )


def _begin() -> bool:
    """Whether NVML answers; it must be shut down then. A machine without it is nothing to tell."""
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return False
    except pynvml.NVMLError as error:
        _log.warning("gpus.unknown", action="gpus.unknown", error=str(error), remedy=_REMEDY)
        return False
    return True


def _described(index: int) -> GpuFacts | None:
    """None: it is lost, or may not be looked at (as in some MIG set-ups)."""
    try:
        return _gpu(index)
    except pynvml.NVMLError as error:
        _log.warning(
            "gpu.skipped", action="gpu.skipped", gpu=index, error=str(error), remedy=_REMEDY
        )
        return None


def _gpu(index: int) -> GpuFacts:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    return GpuFacts(
        index=index,
        model=_text(pynvml.nvmlDeviceGetName(device)),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(device).total),
        uuid=_text(pynvml.nvmlDeviceGetUUID(device)),
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


# --- what they are doing -------------------------------------------------------------------------


class GpuMeter:
    """Samples of all devices, with NVML kept open; a failure is logged once until it is over."""

    def __init__(self) -> None:
        self._open = _begin()
        self._failed: set[int] = set()

    def sample(self) -> tuple[GpuUse, ...]:
        """What each device that answers is doing now; nothing without NVML."""
        return tuple(self._uses())

    def _uses(self) -> Iterator[GpuUse]:
        for index in range(self._count() if self._open else 0):
            try:
                yield _use(index)
            except pynvml.NVMLError as error:
                self._note(index, error)
            else:
                self._failed.discard(index)

    def _count(self) -> int:
        try:
            count = int(pynvml.nvmlDeviceGetCount())
        except pynvml.NVMLError as error:
            self._note(_ALL, error)
            return 0
        self._failed.discard(_ALL)
        return count

    def _note(self, index: int, error: pynvml.NVMLError) -> None:
        if index not in self._failed:
            self._failed.add(index)
            gpu = "all" if index == _ALL else index
            _log.warning(
                "gpu.silent", action="gpu.silent", gpu=gpu, error=str(error), remedy=_REMEDY
            )


def _use(index: int) -> GpuUse:
    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    busy = _asked(lambda: pynvml.nvmlDeviceGetUtilizationRates(device).gpu, 0)
    encoder = _asked(lambda: pynvml.nvmlDeviceGetEncoderStats(device)[0], 0)
    return GpuUse(
        index=index,
        share=busy / 100.0,
        memory_used_bytes=_memory_used(device),
        encoder_sessions=int(encoder),
    )


def _memory_used(device: Any) -> int:
    """Bytes that processes hold, as `nvidia-smi` says. What the driver keeps for itself counts as
    used for drivers before 510, which do not know the difference."""
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(device, version=pynvml.nvmlMemory_v2).used)
    except (pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NotSupported):
        return int(pynvml.nvmlDeviceGetMemoryInfo(device).used)


def _asked(question: Callable[[], _T], otherwise: _T) -> _T:
    """What some devices do not know: a MIG device its load, an A100 its encoders."""
    try:
        return question()
    except pynvml.NVMLError_NotSupported:
        return otherwise
