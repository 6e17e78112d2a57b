"""The GPUs that containers reserve, as a request of the pipeline: none is ever dropped."""

from dataclasses import replace

from gamepipe.definition.kind import Reader
from gamepipe.model.gpu import ALL, demand, gpu_requests, reserved, rivals
from gamepipe.model.spec import GpuRequest, PipelineSpec, Step

_REMEDY = "under `resources`, or leave `resources.gpu` out"


def with_gpu(spec: PipelineSpec) -> PipelineSpec:
    """The spec asking for what its steps reserve; for files without `resources.gpu`."""
    count = demand(spec.steps)
    if not count:
        return spec
    return replace(spec, resources=replace(spec.resources, gpu=GpuRequest(count=count)))


def check_gpu(spec: PipelineSpec, reader: Reader) -> None:
    """Note each reservation that no allocation could meet: beside those of other steps, or of the
    stated `resources.gpu`, which holds what is reserved (it is not added)."""
    mistakes = len(reader.mistakes)
    _check_all(spec, reader)
    if "resources.gpu" in reader.places and len(reader.mistakes) == mistakes:
        _check_stated(spec, reader)


def _check_all(spec: PipelineSpec, reader: Reader) -> None:
    """`count: all` leaves nothing for others, and promises no more than one device."""
    beside = rivals(spec.steps)
    most = max((reserved(step) for step in spec.steps), default=0)
    for step in spec.steps:
        if reserved(step) != ALL:
            continue
        if len(gpu_requests(step.container)) > 1:
            remedy = "keep the request with `count: all` alone"
            reader.fail_at(_place(step), "reserves all GPUs, and more besides", remedy)
        elif rival := beside.get(step.index):
            problem = f"reserves all GPUs, but step `{rival.name}` reserves some at the same time"
            remedy = "write numbers, or let one follow the other through `needs`"
            reader.fail_at(_place(step), problem, f"{remedy} (a service stays up)")
        elif most > 1:
            problem = f"reserves all GPUs, which may be one, but another step reserves {most}"
            reader.fail_at(_place(step), problem, f"write a number, such as {most}")


def _check_stated(spec: PipelineSpec, reader: Reader) -> None:
    stated = spec.resources.gpu.least
    for step in spec.steps:
        count = reserved(step)
        if count > stated or (count == ALL and spec.resources.gpu.count != ALL):
            wanted = "all" if count == ALL else count
            problem = f"reserves {wanted} GPU(s), but `resources.gpu` asks for {stated}"
            reader.fail_at(_place(step), problem, f"write `gpu: {wanted}` {_REMEDY}")
            return
    if (together := demand(spec.steps)) > stated:
        problem = f"asks for {stated} GPU(s), but steps that run or stay up at the same time "
        remedy = f"write `gpu: {together}` {_REMEDY}"
        reader.fail_at("resources.gpu", f"{problem}reserve {together} together", remedy)


def _place(step: Step) -> str:
    return f"steps[{step.index}].container.deploy"
