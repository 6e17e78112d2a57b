"""The real pipeline of the platform loads unchanged, with all that it asks for."""

import pytest

from gamepipe.definition import bind, content_digest, parse_pipeline
from gamepipe.definition.codec import encode_text
from gamepipe.model.errors import InvalidPipeline
from gamepipe.model.spec import (
    Device,
    DeviceRequest,
    GpuRequest,
    PipelineSpec,
    Port,
    StepType,
    Volume,
)

ARGS = {
    "PLATFORM": "lutris",
    "INSTANCE": "game-1",
    "IMAGE": "registry/game:1",
    "PORT": "8081",
    "HOSTNAME": "game-1",
}


@pytest.fixture
def spec(beagle_text: str) -> PipelineSpec:
    return parse_pipeline(beagle_text, file="beagle-start-platform.yaml")


def test_its_steps_follow_one_another(spec: PipelineSpec) -> None:
    assert spec.name == "Platform Start"
    assert [(step.name, step.type, step.needs) for step in spec.steps] == [
        ("minio", StepType.CONTAINER, ()),
        ("tgz", StepType.CONTAINER, ("minio",)),
        ("game", StepType.SERVICE, ("tgz",)),
    ]
    minio = spec.steps[0].container
    assert minio is not None
    assert minio.volumes == (Volume(source="${{ envs.BEAGLE_WIND_ROOT }}", target="/data/wind"),)
    assert minio.commands[0] == "mkdir -p /data/wind/platforms"
    assert len(minio.commands) == 3


def test_all_that_the_game_asks_for_arrives(spec: PipelineSpec) -> None:
    game = spec.steps[2].container
    assert game is not None
    assert (game.image, game.hostname) == ("${{ args.IMAGE }}", "${{ args.HOSTNAME }}")
    assert game.device_requests == (DeviceRequest(capabilities=("gpu",)),)
    assert spec.resources.gpu == GpuRequest(count=1)
    assert (game.privileged, game.cap_add) == (True, ("SYS_RAWIO",))
    assert (game.security_opt, game.tmpfs) == (("seccomp=unconfined",), ("/dev/shm:rw",))
    assert game.devices == (Device(source="/dev/dri", target="/dev/dri"),)
    assert game.ports == (Port(container="8080", host="${{ args.PORT }}"),)
    home = "${{ envs.BEAGLE_WIND_ROOT }}/volumes/${{ args.INSTANCE }}/system"
    assert game.volumes == (
        Volume(source="/dev/input", target="/dev/input"),
        Volume(source="/data/nvidia", target="/data/nvidia"),
        Volume(source=home, target="/home/ubuntu"),
    )
    assert len(game.environment) == 20
    assert game.environment["DISPLAY_SIZEW"] == "1920"
    assert game.environment["SELKIES_ENABLE_RESIZE"] == "false"
    assert game.environment["PASSWD"] == "${{ envs.BEAGLE_WIND_PASSWD }}"


def test_it_binds_and_no_value_of_an_env_stays_in_it(spec: PipelineSpec) -> None:
    envs = {parameter.name: f"/mark-{parameter.name}" for parameter in spec.envs}
    bound = bind(spec, args=ARGS, envs=envs, secrets={})
    assert (bound.args, bound.envs) == (ARGS, envs)
    assert b"mark-" not in encode_text(bound.spec)
    assert len(content_digest(bound)) == 64


def test_without_values_it_says_which_are_missing(spec: PipelineSpec) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        bind(spec, args={}, envs={}, secrets={})
    missing = [mistake.path for mistake in caught.value.mistakes]
    assert missing == [f"args.{name}" for name in ARGS] + [f"envs.{e.name}" for e in spec.envs]
    assert "`--arg PLATFORM=VALUE`" in caught.value.mistakes[0].remedy
    assert "`--env S3_URL=VALUE`" in caught.value.mistakes[-1].remedy
