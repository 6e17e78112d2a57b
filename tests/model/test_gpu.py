"""Which GPUs each step of a pipeline gets."""

import pytest

from gamepipe.model.gpu import ALL, demand, is_gpu, step_devices
from gamepipe.model.spec import (
    Container,
    DeviceRequest,
    GpuRequest,
    PipelineSpec,
    Resources,
    Step,
    StepType,
)

SERVICE, CONTAINER, COMMAND = StepType.SERVICE, StepType.CONTAINER, StepType.COMMAND


def step(
    index: int,
    *counts: int | None,
    kind: StepType = CONTAINER,
    needs: tuple[int, ...] = (),
) -> Step:
    """A step that reserves these numbers of GPUs, after the steps `needs`."""
    requests = tuple(DeviceRequest(capabilities=("gpu",), count=count) for count in counts)
    container = Container(image="a", device_requests=requests) if kind is not COMMAND else None
    named = tuple(f"s{need}" for need in needs)
    return Step(index=index, name=f"s{index}", type=kind, container=container, needs=named)


def shares(*steps: Step, devices: tuple[int, ...]) -> list[tuple[int, ...]]:
    spec = PipelineSpec(
        name="x", steps=steps, resources=Resources(gpu=GpuRequest(count=len(devices)))
    )
    given = step_devices(spec, devices)
    return [given.get(one.index, ()) for one in steps]


def test_steps_one_after_the_other_use_the_same_device() -> None:
    steps = (step(0, 1), step(1, 1, needs=(0,)), step(2, 1, needs=(1,)))
    assert demand(steps) == 1
    assert shares(*steps, devices=(3,)) == [(3,), (3,), (3,)]


def test_steps_without_a_path_between_them_add_up() -> None:
    steps = (step(0, 1), step(1, 2))
    assert demand(steps) == 3
    assert shares(*steps, devices=(4, 5, 7)) == [(4,), (5, 7)]


def test_a_service_stays_up_beside_those_that_follow_it() -> None:
    steps = (step(0, 1, kind=SERVICE), step(1, 1, kind=SERVICE, needs=(0,)), step(2, 1, needs=(1,)))
    assert demand(steps) == 3
    assert shares(*steps, devices=(0, 1, 2)) == [(0,), (1,), (2,)]


def test_a_step_that_ends_hands_its_devices_to_the_services_after_it() -> None:
    steps = (step(0, 2), step(1, 1, kind=SERVICE, needs=(0,)), step(2, 1, needs=(0,)))
    assert demand(steps) == 2
    assert shares(*steps, devices=(0, 1)) == [(0, 1), (0,), (1,)]


def test_what_is_stated_alone_goes_to_every_step() -> None:
    steps = (step(0, kind=COMMAND), step(1, kind=SERVICE, needs=(0,)))
    assert demand(steps) == 0
    assert shares(*steps, devices=(2, 6)) == [(2, 6), (2, 6)]


def test_what_no_step_reserves_goes_to_those_that_say_no_number() -> None:
    steps = (step(0, kind=COMMAND), step(1, 1, needs=(0,)), step(2, None, needs=(1,)))
    assert shares(*steps, devices=(0, 1)) == [(1,), (0,), (0, 1)]


def test_beside_reservations_of_all_that_there_is_others_get_none() -> None:
    assert shares(step(0), step(1, 1, needs=(0,)), devices=(0,)) == [(), (0,)]


def test_all_is_every_allocated_device() -> None:
    steps = (step(0, 1), step(1, ALL, needs=(0,)), step(2, needs=(1,)))
    assert demand(steps) == ALL
    assert shares(*steps, devices=(0, 2)) == [(0,), (0, 2), ()]


def test_a_pipeline_without_devices_gives_none() -> None:
    assert shares(step(0), step(1), devices=()) == [(), ()]


@pytest.mark.parametrize(
    ("request_", "is_one"),
    [
        (DeviceRequest(capabilities=("gpu",)), True),
        (DeviceRequest(capabilities=("compute", "utility")), True),
        (DeviceRequest(capabilities=("video",), driver="nvidia"), True),
        (DeviceRequest(capabilities=("x",), driver="cdi", device_ids=("nvidia.com/gpu=0",)), True),
        (DeviceRequest(capabilities=("x",), driver="cdi", device_ids=("acme.com/nic=0",)), False),
        (DeviceRequest(capabilities=("tpu",), count=2), False),
        (DeviceRequest(capabilities=("compute",), driver="other"), False),
    ],
)
def test_what_docker_serves_with_gpus_counts(request_: DeviceRequest, is_one: bool) -> None:
    assert is_gpu(request_) is is_one
