"""What the Beagle Wind file finds in production: its images, a platform, a node's devices.

The images have the names that the file uses and are made of a busybox. `mc` stands in for MinIO's
client: it knows one alias, serves the platform's tarball from its own image, and notes how it was
called beside what it fetched. The game serves its home folder over HTTP.
"""

import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiodocker import Docker

from gamepipe.embedded.port import pick_port
from tests.docker_engine import which
from tests.docker_fixtures import import_image
from tests.required import require

REGISTRY = "registry.cn-qingdao.aliyuncs.com/wod"
MINIO, ALPINE = f"{REGISTRY}/devops-minio:1.0", f"{REGISTRY}/alpine:3"
GAME = f"{REGISTRY}/beagle-wind-test:1"
PLATFORM = "lutris"
PAGE = "the game of the tarball\n"
CALLS = "mc.calls"
GPU_FACTS = "gpus: [{model: NVIDIA RTX 4090, memory_bytes: 24GiB, uuid: GPU-of-a-test}]\n"
NO_GPU_FACTS = "gpus: []\n"
_MC = f"""#!/bin/sh -e
echo "mc $*"
echo "$*" >> /{CALLS}
case "$1 $2" in
  "alias set") [ $# = 7 ]; echo "$3" > /alias ;;
  "cp cache/"*)
    [ "$(cat /alias)" = cache ]
    cp "/bucket/${{2#cache/*/}}" "$3"
    cp /{CALLS} "$(dirname "$3")/{CALLS}" ;;
  *) echo "mc: no such command" >&2; exit 1 ;;
esac
"""
_GAME = """#!/bin/sh
echo "signing in with $PASSWD"
trap 'exit 0' TERM
httpd -f -p 8080 -h /home/ubuntu &
wait
"""
_RENDER_NODE = os.makedev(226, 128)


async def import_platform_images(docker: Docker) -> None:
    """The images of the three steps."""
    tarball = f"bucket/platforms/{PLATFORM}.tar.gz"
    await import_image(docker, MINIO, files={"bin/mc": _MC, tarball: _platform_tarball()})
    await import_image(docker, ALPINE)
    await import_image(docker, GAME, files={"game": _GAME}, changes=('CMD ["/game"]',))


def _platform_tarball() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("system/index.html")
        entry.size, entry.mode = len(PAGE), 0o644
        archive.addfile(entry, io.BytesIO(PAGE.encode()))
    return buffer.getvalue()


@contextmanager
def node_devices() -> Iterator[None]:
    """The paths that the game takes from its node; those that were missing are gone afterwards."""
    made = [path for path in map(Path, ("/data", "/data/nvidia", "/dev/input")) if _make(path)]
    if _make(Path("/dev/dri")):
        made += [Path("/dev/dri"), Path("/dev/dri/renderD128")]
        try:
            os.mknod(made[-1], stat.S_IFCHR | 0o660, _RENDER_NODE)
        except PermissionError:
            require("docker", "/dev/dri cannot be made here: run the tests with CAP_MKNOD")
    yield
    for path in reversed(made):
        path.rmdir() if path.is_dir() else path.unlink()


def _make(path: Path) -> bool:
    if path.exists():
        return False
    path.mkdir()
    return True


def free_port() -> int:
    return pick_port("game", 0, host="0.0.0.0", taken=set()).number


@dataclass(frozen=True, kw_only=True)
class Platform:
    """One start of the platform: the folder on the node, and the values for the file."""

    root: Path
    instance: str
    mark: str = "value"
    """Is in the value of every env."""
    port: int = field(default_factory=free_port)

    @property
    def volumes(self) -> Path:
        return self.root / "volumes" / self.instance

    @property
    def args(self) -> dict[str, str]:
        return {
            "PLATFORM": PLATFORM,
            "INSTANCE": self.instance,
            "IMAGE": GAME,
            "PORT": str(self.port),
            "HOSTNAME": f"{self.instance}-host",
        }

    @property
    def envs(self) -> dict[str, str]:
        return {
            "BEAGLE_WIND_ROOT": str(self.root),
            "BEAGLE_WIND_PASSWD": f"{self.mark}-passwd",
            "BEAGLE_WIND_TURN_HOST": f"turn.{self.mark}.example",
            "BEAGLE_WIND_TURN_PORT": f"{self.mark}-3478",
            "BEAGLE_WIND_TURN_PROTOCOL": f"{self.mark}-udp",
            "BEAGLE_WIND_TURN_USERNAME": f"{self.mark}-turn-user",
            "BEAGLE_WIND_TURN_PASSWORD": f"{self.mark}-turn-password",
            "S3_ACCESS_KEY": f"{self.mark}-access-key",
            "S3_SECRET_KEY": f"{self.mark}-secret-key",
            "S3_BUCKET": f"{self.mark}-bucket",
            "S3_URL": f"https://{self.mark}.example:9000",
        }

    def prepare(self) -> "Platform":
        """Make the instance's folder, as it exists in production."""
        self.volumes.mkdir(parents=True)
        return self


@dataclass(frozen=True)
class Engine:
    """The `docker` command against one engine."""

    url: str

    def inspect(self, container: str) -> dict[str, Any]:
        return dict(json.loads(self._docker("inspect", "--type", "container", container))[0])

    def containers(self, pipeline_id: str) -> list[str]:
        """Names of all that bear the pipeline's label, also those that ended."""
        label = f"label=gamepipe.pipeline={pipeline_id}"
        return self._docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()

    def volumes(self) -> set[str]:
        return set(self._docker("volume", "ls", "--quiet").split())

    def _docker(self, *arguments: str) -> str:
        command = [which("docker") or "docker", "--host", self.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
