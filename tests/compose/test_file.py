"""What docker-compose.temporal.yml and the Dockerfile promise, read from the files themselves."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compose.composefile import (
    COMPOSE_FILE,
    GPU_FILE,
    ROOT,
    VariableMissing,
    load_raw,
    render,
    required_variables,
)

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED = re.compile(r":\d+(\.\d+)+(-[a-z]+)*$")
VALUES = {name: f"generated-{name.lower()}" for name in required_variables()}
SERVICES: dict[str, dict[str, Any]] = render(VALUES)["services"]
LASTING = [name for name, one in SERVICES.items() if one["restart"] == "unless-stopped"]
JOBS = [name for name in SERVICES if name not in LASTING]


def check_schema(*paths: Path) -> "subprocess.CompletedProcess[str]":
    """Against the Compose specification's own JSON Schema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)


def test_the_files_follow_the_compose_specification() -> None:
    checked = check_schema(COMPOSE_FILE, GPU_FILE)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_misspelt_key_would_be_found(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yml"
    broken.write_text(COMPOSE_FILE.read_text().replace("stop_grace_period", "stop_grace"))
    checked = check_schema(broken)
    assert checked.returncode == 1
    assert "stop_grace" in checked.stdout


def test_docker_compose_accepts_the_files() -> None:
    version = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if version.returncode:
        pytest.skip("Docker Compose 2 is missing: install Docker's package docker-compose-plugin")
    files = [part for path in (COMPOSE_FILE, GPU_FILE) for part in ("-f", str(path))]
    checked = subprocess.run(
        ["docker", "compose", *files, "config", "--quiet"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **VALUES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_there_are_services_and_jobs() -> None:
    assert set(LASTING) >= {"postgres", "temporal", "temporal-ui", "gateway", "worker", "agent"}
    assert sorted(JOBS) == ["temporal-namespace", "temporal-schema"]
    assert all(SERVICES[name]["restart"].startswith("on-failure") for name in JOBS)


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_pinned_tag(name: str) -> None:
    assert PINNED.search(SERVICES[name]["image"])


def test_the_base_image_is_pinned_to_a_patch() -> None:
    assert re.search(r"^ARG PYTHON=python:3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON}"}


@pytest.mark.parametrize("name", LASTING)
def test_every_lasting_service_has_a_health_check_and_time_to_stop(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["stop_grace_period"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_waited_for_can_come_true(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
        assert how["condition"] == wanted, other


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_the_database_is_not_published() -> None:
    assert "ports" not in SERVICES["postgres"]


@pytest.mark.parametrize("name", required_variables())
def test_what_is_secret_has_no_default_and_says_what_to_set(name: str) -> None:
    with pytest.raises(VariableMissing, match=f"set {name} in .env to"):
        render({other: value for other, value in VALUES.items() if other != name})


@pytest.mark.parametrize("name", SERVICES)
def test_no_password_is_written_down(name: str) -> None:
    generated = set(VALUES.values())
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD|PWD|SECRET", variable):
            assert value in generated, variable
        if password := re.search(r"://[^:/]+:([^@]*)@", value):
            assert password[1] in generated, variable


def test_the_example_is_no_configuration() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(example) == set(required_variables())
    with pytest.raises(VariableMissing):
        render(example)


def test_the_token_is_a_secret_file() -> None:
    for name, variable in (
        ("gateway", "GAMEPIPE_TOKEN_FILE"),
        ("agent", "GAMEPIPE_AGENT_TOKEN_FILE"),
    ):
        assert SERVICES[name]["secrets"] == ["gamepipe_token"]
        assert SERVICES[name]["environment"][variable] == "/run/secrets/gamepipe_token"


def test_the_agent_has_one_path_for_its_data_and_the_engine() -> None:
    mounts = SERVICES["agent"]["volumes"]
    (data,) = [one for one in mounts if isinstance(one, dict)]
    inside = SERVICES["agent"]["environment"]["GAMEPIPE_AGENT_DATA_DIR"]
    assert data["source"] == data["target"] == inside
    assert "/var/run/docker.sock:/var/run/docker.sock" in mounts


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_are_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        if isinstance(mount, str) and mount.startswith("./"):
            assert (ROOT / mount.split(":")[0]).exists()


def test_gateway_and_worker_run_as_the_image_does_without_rights() -> None:
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    for name in ("gateway", "worker"):
        assert "user" not in SERVICES[name]
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["read_only"] is True


def test_the_image_gets_what_it_copies_and_nothing_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_the_gpu_overlay_changes_the_agent_only() -> None:
    assert list(load_raw(GPU_FILE)["services"]) == ["agent"]
