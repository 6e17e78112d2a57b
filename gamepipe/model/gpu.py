"""Which GPUs each step gets: what its container reserves, out of the pipeline's allocation.

Two steps hold their devices at the same time unless one has ended before the other starts: then a
path through `needs` leads from it to the other, and it is no service (a service stays up). Devices
are handed on along such paths, so that a pipeline asks for as few as possible.
"""

from collections.abc import Mapping, Sequence

from gamepipe.model.chain import divide
from gamepipe.model.graph import ancestors
from gamepipe.model.spec import Container, DeviceRequest, PipelineSpec, Step, StepType

ALL = -1
"""In place of a number: every device of the node that suits."""
GPU_DRIVERS = frozenset(("amd", "nvidia"))
NVIDIA_CAPABILITIES = frozenset(
    ("gpu", "nvidia", "compute", "compat32", "graphics", "utility", "video", "display")
)
"""Capabilities for which Docker takes the NVIDIA driver when a request names no driver."""


def is_gpu(request: DeviceRequest) -> bool:
    """Whether Docker serves the request with GPUs."""
    if not request.driver:
        return not NVIDIA_CAPABILITIES.isdisjoint(request.capabilities)
    named = any("/gpu=" in device for device in request.device_ids)  # by the driver `cdi`
    return request.driver in GPU_DRIVERS or "gpu" in request.capabilities or named


def gpu_requests(container: Container | None) -> tuple[DeviceRequest, ...]:
    return tuple(filter(is_gpu, container.device_requests)) if container else ()


def least(request: DeviceRequest) -> int:
    """Devices that it must get, or `ALL`; without a number it is one, and more when more is left
    (Compose would take all, but what a pipeline holds it holds alone)."""
    return request.count or max(len(request.device_ids), 1)


def reserved(step: Step) -> int:
    """Devices that the step's container reserves, or `ALL`."""
    counts = [least(request) for request in gpu_requests(step.container)]
    return ALL if ALL in counts else sum(counts)


def demand(steps: Sequence[Step]) -> int:
    """Devices that the steps hold at the same time at most, or `ALL`."""
    if any(reserved(step) == ALL for step in steps):
        return ALL
    return 1 + max((max(numbers) for numbers in _numbers(steps).values()), default=-1)


def rivals(steps: Sequence[Step]) -> dict[int, Step]:
    """For each step that reserves all devices, by its index, another that reserves some while it
    does; only where there is one."""
    holders = [step for step in steps if reserved(step)]
    greedy = [step for step in holders if reserved(step) == ALL]
    before = ancestors(steps) if greedy else {}

    def rival_of(step: Step) -> Step | None:
        for other in holders:
            apart = _ends_before(step, other, before) or _ends_before(other, step, before)
            if other.index != step.index and not apart:
                return other
        return None

    return {step.index: rival for step in greedy if (rival := rival_of(step))}


def step_devices(spec: PipelineSpec, devices: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The devices of each step, by its index; a step that gets none is absent.

    A step that reserves GPUs gets devices that no other step holds at the same time. Allocated
    devices that no step reserves are shared by the steps that reserve without a number, or not at
    all: so every step of a pipeline that only states `resources.gpu` gets all of them.

    Args:
        spec: the pipeline; the parser has seen to it that it asks for what its steps reserve.
        devices: those allocated to the pipeline, as indices of the node.
    """
    numbers = _numbers(spec.steps) if devices else {}
    taken = {number for held in numbers.values() for number in held}
    if any(reserved(step) == ALL for step in spec.steps):
        taken.update(range(len(devices)))
    rest = [number for number in range(len(devices)) if number not in taken]
    given = {step.index: _of_step(step, numbers, rest, devices) for step in spec.steps}
    return {index: held for index, held in given.items() if held}


def _of_step(
    step: Step,
    numbers: Mapping[int, Sequence[int]],
    rest: Sequence[int],
    devices: Sequence[int],
) -> tuple[int, ...]:
    requests = gpu_requests(step.container)
    if reserved(step) == ALL:
        return tuple(devices)
    own = [number for number in numbers.get(step.index, ()) if number < len(devices)]
    if not requests or any(takes_more(request) for request in requests):
        own += rest
    return tuple(devices[number] for number in own)


def takes_more(request: DeviceRequest) -> bool:
    """Whether it says no number, so that more than one device is welcome."""
    return request.count is None and not request.device_ids


def _numbers(steps: Sequence[Step]) -> dict[int, tuple[int, ...]]:
    """For each step that reserves GPUs the numbers of its devices, from 0; as few as possible."""
    holders = [step for step in steps if reserved(step)]
    if not holders:
        return {}
    before = ancestors(steps)
    holders.sort(key=lambda step: (len(before[step.name]), step.index))
    wants = [max(reserved(step), 1) for step in holders]
    over = [
        sum(1 << place for place, one in enumerate(holders) if _ends_before(one, step, before))
        for step in holders
    ]
    held = divide(wants, over)
    return {step.index: numbers for step, numbers in zip(holders, held, strict=True)}


def _ends_before(step: Step, other: Step, before: Mapping[str, frozenset[str]]) -> bool:
    return step.type is not StepType.SERVICE and step.name in before[other.name]
