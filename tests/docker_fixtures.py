"""A real Docker engine for tests: the one named by GAMEPIPE_TEST_DOCKER, else one of our own."""

import contextlib
import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiodocker
import pytest

from gamepipe.agent.container_engine import connect_docker
from tests.docker_engine import OwnEngine, start_own_engine, which
from tests.required import require

BUSYBOX = "gamepipe-test/busybox:latest"
_HOW = (
    "install Debian's docker.io, busybox-static, iproute2 and iptables and run the tests as root, "
    "or set GAMEPIPE_TEST_DOCKER=unix:///var/run/docker.sock to use an engine that runs"
)


@pytest.fixture(scope="session")
def docker_url() -> Iterator[str]:
    """The URL of an engine that every test may use; each uses names of its own."""
    given = os.environ.get("GAMEPIPE_TEST_DOCKER")
    if given:
        yield given
        return
    with _own_engine() as engine:
        yield engine.url


@pytest.fixture
def own_engine() -> Iterator[OwnEngine]:
    """An engine for one test, which may stop and start it."""
    with _own_engine() as engine:
        yield engine


@contextlib.contextmanager
def _own_engine() -> Iterator[OwnEngine]:
    missing = [name for name in ("dockerd", "docker", "ip", "busybox") if not which(name)]
    if missing or os.geteuid() != 0:
        lack = f"no {', '.join(missing)}" if missing else "not root"
        require("docker", f"no Docker engine can be started here ({lack}): {_HOW}")
    try:
        engine = start_own_engine()
    except RuntimeError as error:
        require("docker", f"dockerd does not start here ({error}): {_HOW}")
    try:
        yield engine
    finally:
        engine.remove()


@pytest.fixture
async def docker(docker_url: str) -> AsyncIterator[aiodocker.Docker]:
    client = connect_docker(docker_url)
    yield client
    await client.close()


@pytest.fixture(scope="session")
async def busybox_image(docker_url: str) -> str:
    """An image made of a static busybox, named without any registry."""
    client = connect_docker(docker_url)
    try:
        await import_image(client, BUSYBOX)
    finally:
        await client.close()
    return BUSYBOX


async def import_image(
    docker: aiodocker.Docker,
    name: str,
    *,
    files: Mapping[str, str | bytes] | None = None,
    changes: tuple[str, ...] = (),
) -> None:
    """Make an image with busybox and the given executable files.

    Args:
        docker: the engine that gets it.
        name: `repository:tag`.
        files: path in the image -> content; each becomes executable.
        changes: instructions of a Dockerfile, such as `CMD ["sh"]` or `HEALTHCHECK CMD true`.
    """
    repository, _, tag = name.rpartition(":")
    params = [("fromSrc", "-"), ("repo", repository), ("tag", tag)]
    params += [("changes", change) for change in ('CMD ["/bin/sh"]', *changes)]
    url = docker._canonicalize_url("images/create", versioned_api=False)
    async with docker.session.post(
        url, params=params, data=rootfs(files or {}), headers={"Content-Type": "application/x-tar"}
    ) as response:
        answer = await response.text()
    assert response.status == 200, answer
    assert "error" not in answer, answer


def rootfs(files: Mapping[str, str | bytes]) -> bytes:
    """A tar archive with busybox, its applets, two users and the given executable files."""
    busybox = which("busybox")
    assert busybox is not None, f"no busybox: {_HOW}"
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("root", 0o700)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        _add(archive, "bin/busybox", Path(busybox).read_bytes())
        for applet in applets.split():
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                archive.addfile(entry)
        _add(
            archive, "etc/passwd", b"root:x:0:0::/root:/bin/sh\nplayer:x:1000:1000::/tmp:/bin/sh\n"
        )
        _add(archive, "etc/group", b"root:x:0:\nplayer:x:1000:\n")
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            _add(archive, path.lstrip("/"), data)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o755
    archive.addfile(entry, io.BytesIO(content))
