"""Pulling images from a registry."""

import base64
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gamepipe.agent.image import registry_headers, registry_of, split_image
from gamepipe.model import reason as reasons
from gamepipe.model.record import LogStream
from tests.agent.container.conftest import Bench
from tests.agent.container.registry import Registry, make_registry, serving
from tests.docker_fixtures import rootfs
from tests.waiting import eventually


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    buffer = io.BytesIO(rootfs({}))
    with tarfile.open(fileobj=buffer, mode="a") as archive:
        ballast = tarfile.TarInfo("ballast")
        ballast.size = 4 << 20
        archive.addfile(ballast, io.BytesIO(os.urandom(ballast.size)))
    async with serving(make_registry(buffer.getvalue())) as registry:
        yield registry


@pytest.mark.docker
async def test_a_pull_tells_its_progress(bench: Bench, registry: Registry) -> None:
    attempt = bench.start(bench.plan("echo hi", image=registry.image()))
    await eventually(lambda: any("% of" in text for text in attempt.progress))
    assert not attempt.task.done()
    registry.may_go_on.set()
    assert (await attempt.end()).exit_code == 0
    assert attempt.sink.texts() == ["hi"]
    system = attempt.sink.texts(LogStream.SYSTEM)
    assert system[0] == f"pulling image {registry.image()}"
    assert system[-1] == f"pulled image {registry.image()}"
    assert len(attempt.progress) < 20


@pytest.mark.docker
async def test_a_stop_breaks_a_pull_off(bench: Bench, registry: Registry) -> None:
    attempt = bench.start(bench.plan("echo hi", image=registry.image()))
    await registry.half_way.wait()
    attempt.stop.set(grace_seconds=600, reason=reasons.CANCELED)
    leave = await attempt.end(10)
    assert (leave.reason, leave.started_at) == (reasons.CANCELED, None)
    assert await bench.facts(attempt.plan) is None


@pytest.mark.docker
async def test_the_login_of_the_agents_user_is_used(
    bench: Bench, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.may_go_on.set()
    auth = base64.b64encode(b"player:pass:word").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.address: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    header = registry_headers(registry.image())["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(header)) == {
        "username": "player",
        "password": "pass:word",
    }
    leave, _ = await bench.run("true", image=registry.image())
    assert leave.exit_code == 0
    assert registry_headers("other.example/image") == {}


@pytest.mark.parametrize(
    ("image", "name", "tag", "registry_name"),
    [
        ("busybox", "busybox", "latest", "https://index.docker.io/v1/"),
        ("docker.io/library/busybox:1", "docker.io/library/busybox", "1", None),
        ("localhost:5000/a/b", "localhost:5000/a/b", "latest", "localhost:5000"),
        ("r.example/a/b:2.0", "r.example/a/b", "2.0", "r.example"),
        ("r.example/a@sha256:ab", "r.example/a", "sha256:ab", "r.example"),
    ],
)
def test_names_of_images_are_taken_apart(
    image: str, name: str, tag: str, registry_name: str | None
) -> None:
    assert split_image(image) == (name, tag)
    assert registry_of(image) == (registry_name or "https://index.docker.io/v1/")
