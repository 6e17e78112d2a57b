"""The GPUs that containers reserve, as a request of the pipeline: none is ever dropped."""

from dataclasses import replace

from gamepipe.definition.kind import Reader
from gamepipe.model.spec import Container, DeviceRequest, GpuRequest, PipelineSpec


def with_gpu(spec: PipelineSpec) -> PipelineSpec:
    """The spec asking for what its containers reserve; for files without `resources.gpu`."""
    count = max((count for _, count in _reserved(spec)), default=0)
    if not count:
        return spec
    return replace(spec, resources=replace(spec.resources, gpu=GpuRequest(count=count)))


def check_gpu(spec: PipelineSpec, reader: Reader) -> None:
    """Note each step that reserves more than the stated `resources.gpu` would give it."""
    request = spec.resources.gpu
    stated = request.count or (0 if request.is_empty else 1)
    for index, count in _reserved(spec):
        if count > stated:
            problem = f"reserves {count} GPU(s), but `resources.gpu` asks for {stated}"
            remedy = f"write `gpu: {count}` under `resources`, or leave `resources.gpu` out"
            reader.fail_at(f"steps[{index}].container.deploy", problem, remedy)


def _reserved(spec: PipelineSpec) -> list[tuple[int, int]]:
    """(index of a step, GPUs that its container reserves); steps run one after the other."""
    counts = [(step.index, _in_container(step.container)) for step in spec.steps]
    return [(index, count) for index, count in counts if count]


def _in_container(container: Container | None) -> int:
    if container is None:
        return 0
    return sum(_in_request(request) for request in container.device_requests)


def _in_request(request: DeviceRequest) -> int:
    """All of a node's GPUs, and a request without a number, count as one at least."""
    if "gpu" not in request.capabilities and request.driver != "nvidia":
        return 0
    return max(len(request.device_ids), request.count or 0, 1)
