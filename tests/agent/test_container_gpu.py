"""The GPUs in what Docker is asked for; needs no engine. (Nothing here touches a real GPU.)"""

import re
from pathlib import Path
from typing import Any

import pytest

from gamepipe.agent.container_config import create_body
from gamepipe.agent.container_refusal import UnsupportedField
from gamepipe.agent.runtime import StepPlan
from gamepipe.definition import parse_pipeline
from gamepipe.model.gpu import step_devices
from gamepipe.model.record import AttemptKey
from gamepipe.model.spec import Container, DeviceRequest, Step, StepType

ROOT = Path(__file__).parents[2]


def asked(step: Step, *devices: int) -> list[dict[str, Any]]:
    """The device requests of the step's container."""
    plan = StepPlan(
        key=AttemptKey(pipeline_id="p", generation=1, step_index=step.index, attempt=1),
        step=step,
        workspace=Path("/w"),
        attempt_dir=Path("/a"),
        output_file=Path("/a/output"),
        gpu_devices=devices,
    )
    assert step.container is not None
    requests: list[dict[str, Any]] = create_body(plan, step.container)["HostConfig"][
        "DeviceRequests"
    ]
    return requests


def reserving(*requests: DeviceRequest) -> Step:
    return Step(index=0, name="s", container=Container(image="a", device_requests=requests))


def gpus(count: int | None = None, *more: str, driver: str = "") -> DeviceRequest:
    return DeviceRequest(capabilities=("gpu", *more), count=count, driver=driver)


def test_a_container_that_states_no_request_gets_its_devices() -> None:
    (request,) = asked(reserving(), 3)
    assert (request["DeviceIDs"], request["Count"]) == (["3"], 0)
    assert request["Capabilities"] == [["gpu"]]


def test_a_container_without_devices_asks_for_none() -> None:
    assert asked(reserving()) == []


def test_a_request_of_another_kind_is_left_as_it_is() -> None:
    other = DeviceRequest(capabilities=("npu",), driver="cdi", device_ids=("acme.com/npu=0",))
    kept, added = asked(reserving(other), 3)
    assert (kept["Driver"], kept["DeviceIDs"]) == ("cdi", ["acme.com/npu=0"])
    assert added["DeviceIDs"] == ["3"]


def test_two_requests_get_different_devices_in_one_request_to_docker() -> None:
    """Docker gives a container the devices of the last of several requests only."""
    (request,) = asked(reserving(gpus(1), gpus(2, "video", driver="nvidia")), 0, 1, 4)
    assert (request["DeviceIDs"], request["Driver"]) == (["0", "1", "4"], "nvidia")
    assert request["Capabilities"] == [["gpu", "video"]]


def test_requests_of_two_drivers_get_successive_devices() -> None:
    first, second = asked(reserving(gpus(1, driver="amd"), gpus(1, driver="nvidia")), 0, 1)
    assert (first["Driver"], first["DeviceIDs"]) == ("amd", ["0"])
    assert (second["Driver"], second["DeviceIDs"]) == ("nvidia", ["1"])


@pytest.mark.parametrize("count", [None, -1])
def test_a_request_without_a_number_gets_every_device_of_the_step(count: int | None) -> None:
    (request,) = asked(reserving(gpus(count)), 2, 5)
    assert request["DeviceIDs"] == ["2", "5"]


@pytest.mark.parametrize("requests", [(gpus(1),), (gpus(),), (gpus(-1),), (gpus(1), gpus(1))])
def test_a_request_beyond_what_the_step_was_given_is_refused(
    requests: tuple[DeviceRequest, ...],
) -> None:
    with pytest.raises(UnsupportedField, match="reserves more GPUs"):
        asked(reserving(*requests), *range(len(requests) - 1))


def test_the_readme_s_game_gets_its_gpu() -> None:
    (text,) = re.findall(
        r"```yaml\n(name: Start a game.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    spec = parse_pipeline(text)
    game = spec.steps[-1]
    assert (game.type, spec.resources.gpu.count) == (StepType.SERVICE, 1)
    (request,) = asked(game, *step_devices(spec, (3,))[game.index])
    assert request["DeviceIDs"] == ["3"]


def test_the_shipped_game_service_gets_its_gpu() -> None:
    spec = parse_pipeline((ROOT / "examples" / "game-service.yaml").read_bytes())
    given = step_devices(spec, (3,))
    (request,) = asked(spec.steps[1], *given[1])
    assert request["DeviceIDs"] == ["3"]
    assert request["Capabilities"] == [["gpu", "video", "graphics"]]
    assert 0 not in given
