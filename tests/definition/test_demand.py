"""The GPUs that a file's containers reserve become the request of the pipeline."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gamepipe.cli.definition import validate
from gamepipe.definition import parse_pipeline
from gamepipe.model.spec import GpuRequest
from tests.definition.conftest import found, mistakes


def step(devices: str, more: str = "") -> str:
    deploy = f"{{resources: {{reservations: {{devices: [{devices}]}}}}}}"
    return f"  - {{{more}container: {{image: a, deploy: {deploy}}}}}\n"


def pipeline(*steps: str, stated: str = "") -> str:
    resources = f"resources: {{gpu: {stated}}}\n" if stated else ""
    return f"name: x\n{resources}steps:\n{''.join(steps)}"


ONE, TWO, ALL = (f"{{capabilities: [gpu], count: {count}}}" for count in ("1", "2", "all"))
SERVICE, APART = "type: service, ", "needs: [], "


@pytest.mark.parametrize(
    ("requests", "count"),
    [
        ("{capabilities: [gpu]}", 1),
        (ALL, -1),
        ("{capabilities: [gpu], count: 3}", 3),
        ("{capabilities: [video], driver: nvidia, count: 2}", 2),
        ("{capabilities: [compute]}", 1),
        ("{capabilities: [gpu]}, {capabilities: [gpu], count: 2}", 3),
        ("{capabilities: [tpu], driver: other, count: 2}", 0),
    ],
)
def test_reserved_gpus_become_a_request(requests: str, count: int) -> None:
    alone = parse_pipeline(pipeline(step(requests)))
    assert alone.resources.gpu == GpuRequest(count=count)
    both = parse_pipeline(pipeline(step(requests), step(ONE)))
    assert both.resources.gpu.count == (count or 1)


def test_services_and_steps_side_by_side_add_up() -> None:
    services = pipeline(step(ONE, SERVICE), step(TWO, SERVICE))
    assert parse_pipeline(services).resources.gpu.count == 3
    apart = pipeline(step(TWO), step(ONE, APART))
    assert parse_pipeline(apart).resources.gpu.count == 3


def test_a_stated_request_holds_what_is_reserved() -> None:
    spec = parse_pipeline(pipeline(step(ONE), step(TWO), stated="{count: 3, model: L4}"))
    assert spec.resources.gpu == GpuRequest(count=3, models=("L4",))
    share = parse_pipeline(pipeline(step("{capabilities: [gpu]}"), stated="{vram: 8GiB}"))
    assert share.resources.gpu == GpuRequest(vram_bytes=8 << 30)


@pytest.mark.parametrize("stated", ["all", "{count: all}"])
def test_all_gpus_of_a_node_may_be_stated(stated: str) -> None:
    spec = parse_pipeline(pipeline(step(ALL), stated=stated))
    assert spec.resources.gpu == GpuRequest(count=-1)


def test_a_stated_request_below_what_one_step_reserves_is_a_mistake() -> None:
    error = mistakes(pipeline(step(TWO), stated="1"))
    assert found(error) == [(4, 36, "steps[0].container.deploy")]
    assert "write `gpu: 2`" in error.mistakes[0].remedy


def test_a_stated_request_below_what_is_reserved_at_once_is_a_mistake() -> None:
    error = mistakes(pipeline(step(ONE, SERVICE), step(ONE, SERVICE), stated="{encoders: 1}"))
    assert found(error) == [(2, 18, "resources.gpu")]
    assert "reserve 2 together" in error.mistakes[0].problem
    assert "write `gpu: 2`" in error.mistakes[0].remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (pipeline(step(f"{ALL}, {ONE}")), "and more besides"),
        (pipeline(step(ALL), step(ONE, APART)), "`step-2` reserves some at the same time"),
        (pipeline(step(ALL, SERVICE), step(ONE)), "`step-2` reserves some at the same time"),
        (pipeline(step(ALL), step(TWO)), "another step reserves 2"),
        (pipeline(step(ALL), stated="4"), "asks for 4"),
        (pipeline(step(TWO), stated="all"), "asks for 1"),
    ],
)
def test_what_no_node_is_sure_to_hold_is_a_mistake(text: str, problem: str) -> None:
    error = mistakes(text)
    assert len(error.mistakes) == 1
    assert problem in error.mistakes[0].problem


@pytest.mark.parametrize(
    "request_",
    [
        "{capabilities: [gpu], device_ids: ['3']}",
        "{capabilities: [video], driver: nvidia, device_ids: [GPU-1]}",
        "{capabilities: [a], driver: cdi, device_ids: ['nvidia.com/gpu=0']}",
    ],
)
def test_a_gpu_by_id_is_refused_with_what_to_write(request_: str) -> None:
    error = mistakes(pipeline(step(request_)))
    place = "steps[0].container.deploy.resources.reservations.devices[0].device_ids"
    assert [mistake.path for mistake in error.mistakes] == [place]
    assert "write `count`" in error.mistakes[0].remedy


def test_five_hundred_steps_that_reserve_are_read() -> None:
    assert parse_pipeline(pipeline(*[step(TWO)] * 500)).resources.gpu.count == 2
    assert parse_pipeline(pipeline(*[step(ALL)] * 500)).resources.gpu.count == -1


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("", ", 3 GPUs"),
        ("all", ", all GPUs"),
        ("{share: 0.5}", ", a share of one GPU"),
    ],
)
def test_validate_says_what_the_file_asks_for(tmp_path: Path, stated: str, said: str) -> None:
    steps = () if stated else (step(ONE, SERVICE), step(TWO, SERVICE))
    plain = "  - {type: command, command: a}\n"
    (tmp_path / "x.yaml").write_text(pipeline(*steps, plain, stated=stated))
    alone = typer.Typer()
    alone.command()(validate)
    result = CliRunner().invoke(alone, [str(tmp_path / "x.yaml")], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    count = len(steps) + 1
    steps_said = f"{count} step{'' if count == 1 else 's'}"
    assert result.output.rstrip().endswith(f"{steps_said}{said}")
