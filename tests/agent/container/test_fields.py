"""Every field of a container arrives at the engine, seen by inspect."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from gamepipe.agent.container_facts import container_name
from gamepipe.model import reason as reasons
from gamepipe.model.spec import (
    Container,
    Device,
    DeviceRequest,
    Healthcheck,
    Port,
    PullPolicy,
    StepType,
    Volume,
)
from tests.agent.container.conftest import Bench
from tests.docker_fixtures import import_image

pytestmark = pytest.mark.docker


async def test_every_field_arrives(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    given = {
        "image": bench.image,
        "command": ("-c", "sleep 600"),
        "entrypoint": ("/bin/sh",),
        "environment": {"TZ": "Asia/Shanghai", "EMPTY": ""},
        "volumes": (
            Volume(source=str(tmp_path / "data"), target="/data", read_only=True),
            Volume(source="./inner/folder", target="/inner"),
            Volume(source="gamepipe-test-cache", target="/cache"),
        ),
        "ports": (
            Port(container="8080", host_ip="127.0.0.1"),
            Port(container="9000", protocol="udp"),
        ),
        "devices": (Device(source="/dev/null", target="/dev/game", permissions="rw"),),
        "tmpfs": ("/dev/shm:rw", "/scratch:size=1m"),
        "cap_add": ("SYS_RAWIO",),
        "cap_drop": ("NET_RAW",),
        "security_opt": ("seccomp=unconfined",),
        "privileged": True,
        "hostname": "game-1",
        "user": "1000:1000",
        "working_dir": "/tmp",
        "healthcheck": Healthcheck(
            test=("CMD-SHELL", "true"),
            interval_seconds=0.5,
            timeout_seconds=2,
            start_period_seconds=3,
            retries=4,
        ),
        "device_requests": (DeviceRequest(capabilities=("gpu",), options={"mode": "all"}),),
        "pull": PullPolicy.NEVER,
        "cpu_limit": 0.5,
        "memory_limit_bytes": 64 << 20,
    }
    assert set(given) == {field.name for field in fields(Container)} - {"commands"}
    plan = bench.plan(kind=StepType.SERVICE, gpu_devices=(3,), **given)
    leave = await bench.start(plan).end()
    assert leave.service_up, leave
    seen = await bench.inspect(plan)
    _check_config(seen["Config"], bench)
    _check_host_config(seen["HostConfig"], plan.workspace, plan.output_file, tmp_path)
    assert seen["Name"] == f"/{container_name(plan.key)}"


def _check_config(config: dict[str, Any], bench: Bench) -> None:
    assert config["Image"] == bench.image
    assert (config["Entrypoint"], config["Cmd"]) == (["/bin/sh"], ["-c", "sleep 600"])
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert environment["TZ"] == "Asia/Shanghai"
    assert environment["EMPTY"] == ""
    assert environment["GAMEPIPE_OUTPUT"] == "/gamepipe/output"
    assert environment["GAMEPIPE_WORKSPACE"] == "/workspace"
    assert environment["GAMEPIPE_PIPELINE_ID"] == config["Labels"]["gamepipe.pipeline"]
    assert (config["Hostname"], config["User"]) == ("game-1", "1000:1000")
    assert config["WorkingDir"] == "/tmp"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "9000/udp"}
    assert config["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"],
        "Interval": 500_000_000,
        "Timeout": 2_000_000_000,
        "StartPeriod": 3_000_000_000,
        "Retries": 4,
    }
    labels = {name.removeprefix("gamepipe."): text for name, text in config["Labels"].items()}
    assert labels.pop("pipeline").startswith("p")
    assert labels == {
        "generation": "1",
        "step": "0",
        "attempt": "1",
        "node": bench.node_id,
        "type": "service",
    }


def _check_host_config(host: dict[str, Any], workspace: Path, output: Path, tmp_path: Path) -> None:
    assert set(host["Binds"]) == {
        f"{workspace}:/workspace:rw",
        f"{output}:/gamepipe/output:rw",
        f"{tmp_path}/data:/data:ro",
        f"{workspace}/inner/folder:/inner:rw",
        "gamepipe-test-cache:/cache:rw",
    }
    assert host["PortBindings"] == {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
        "9000/udp": [{"HostIp": "", "HostPort": ""}],
    }
    assert host["Devices"] == [
        {"PathOnHost": "/dev/null", "PathInContainer": "/dev/game", "CgroupPermissions": "rw"}
    ]
    assert host["Tmpfs"] == {"/dev/shm": "rw", "/scratch": "size=1m"}
    assert (host["CapAdd"], host["CapDrop"]) == (["SYS_RAWIO"], ["NET_RAW"])
    assert "seccomp=unconfined" in host["SecurityOpt"]
    assert host["Privileged"] is True
    assert host["NanoCpus"] == 500_000_000
    assert host["Memory"] == host["MemorySwap"] == 64 << 20
    (request,) = host["DeviceRequests"]
    assert (request["DeviceIDs"], request["Capabilities"]) == (["3"], [["gpu"]])
    assert request["Options"] == {"mode": "all"}


async def test_a_container_gets_the_devices_of_its_step(bench: Bench) -> None:
    requests = tuple(DeviceRequest(capabilities=("gpu",), count=1) for _ in range(2))
    for stated in ((), requests):
        plan = bench.plan("true", device_requests=stated, gpu_devices=(3, 5))
        assert (await bench.start(plan).end()).exit_code == 0
        (seen,) = (await bench.inspect(plan))["HostConfig"]["DeviceRequests"]
        assert (seen["Count"], seen["DeviceIDs"]) == (0, ["3", "5"])


async def test_more_gpus_than_the_step_was_given_are_refused(bench: Bench) -> None:
    leave, _ = await bench.run("true", device_requests=(DeviceRequest(capabilities=("gpu",)),))
    assert (leave.reason, leave.retryable) == (reasons.UNSUPPORTED_FIELD, False)
    assert "`gpu` under `resources`" in leave.message


async def test_a_device_that_no_driver_serves_is_refused(bench: Bench) -> None:
    request = DeviceRequest(capabilities=("gpu",), driver="no-such-driver", count=1)
    leave, _ = await bench.run("true", device_requests=(request,), gpu_devices=(0,))
    assert leave.reason == reasons.CONTAINER_REFUSED
    assert "driver" in leave.message


async def test_a_relative_volume_may_not_leave_the_workspace(bench: Bench) -> None:
    leave, _ = await bench.run("true", volumes=(Volume(source="./a/../../b", target="/b"),))
    assert (leave.reason, leave.retryable) == (reasons.UNSUPPORTED_FIELD, False)
    assert "./a/../../b" in leave.message


async def test_a_volume_of_the_file_takes_the_place_of_the_workspace(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    volume = Volume(source=str(tmp_path / "mine"), target="/workspace/")
    leave, _ = await bench.run("echo hi > /workspace/file", volumes=(volume,))
    assert leave.exit_code == 0
    assert (tmp_path / "mine/file").read_text() == "hi\n"


async def test_two_mounts_on_one_folder_are_refused(bench: Bench) -> None:
    leave, _ = await bench.run("true", tmpfs=("/run:size=1m", "/run:size=2m"))
    assert (leave.reason, leave.retryable) == (reasons.UNSUPPORTED_FIELD, False)
    assert leave.message.startswith("tmpfs[1]: it mounts the same folder as tmpfs[0]")


async def test_a_path_with_a_colon_is_mounted(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    leave, _ = await bench.run(
        "echo hi > /data/file", volumes=(Volume(source=str(folder), target="/data"),)
    )
    assert leave.exit_code == 0, leave
    assert (folder / "file").read_text() == "hi\n"


async def test_a_seccomp_profile_is_read_on_the_node(bench: Bench, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction":"SCMP_ACT_ALLOW"}')
    plan = bench.plan("true", security_opt=(f"seccomp={profile}",))
    assert (await bench.start(plan).end()).exit_code == 0
    seen = (await bench.inspect(plan))["HostConfig"]["SecurityOpt"]
    assert seen == ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']
    leave, _ = await bench.run("true", security_opt=("seccomp=/no/such.json",))
    assert leave.reason == reasons.UNSUPPORTED_FIELD
    assert "/no/such.json" in leave.message


async def test_a_script_that_linux_cannot_pass_is_refused(bench: Bench) -> None:
    leave, _ = await bench.run("#" + "x" * 130_000)
    assert (leave.reason, leave.retryable) == (reasons.UNSUPPORTED_FIELD, False)


async def test_a_health_check_of_the_image_can_be_switched_off(bench: Bench) -> None:
    name = "gamepipe-test/sick:1"
    await import_image(bench.docker, name, changes=("HEALTHCHECK --interval=1s CMD false",))
    plan = bench.plan(
        "sleep 600", kind=StepType.SERVICE, image=name, healthcheck=Healthcheck(test=("NONE",))
    )
    assert (await bench.start(plan).end()).service_up
