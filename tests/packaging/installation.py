"""The wheel, installed with some of its extras into an environment of its own."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.required import require

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
_NO_INDEX = (
    "no package index answers: name one that does with UV_DEFAULT_INDEX, or set UV_OFFLINE=1 where "
    "uv's cache holds the files of requirements.lock"
)
_UNREACHED = ("error sending request", "network was disabled")
_FIND = "import sys, importlib.util as u; print(*(n for n in sys.argv[1:] if u.find_spec(n)))"


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, built with the hatchling of this environment."""
    _uv("build", ROOT, "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True, kw_only=True)
class Installation:
    """An environment in which nothing but the wheel and what it asked for is installed."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, wheel: Path, extra: str = "") -> "Installation":
        """Every file is one that the lock names; skips where there is no index to get it from."""
        named = f"gamepipe[{extra}]" if extra else "gamepipe"
        source = f"{wheel.as_uri()}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}"
        _uv("venv", "--python", sys.executable, folder)
        _uv(
            *("pip", "install", "--python", folder, "--require-hashes", "--constraint", LOCK),
            f"{named} @ {source}",
        )
        return cls(folder=folder)

    @property
    def command(self) -> str:
        return str(self.folder / "bin" / "gamepipe")

    def importable(self, *names: str) -> set[str]:
        """Those of the modules that code in this environment could import."""
        done = self._run(str(self.folder / "bin" / "python"), "-c", _FIND, *names)
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`gamepipe` of this environment."""
        return self._run(self.command, *arguments, **environment)

    def _run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """It sees no checkout and no stack of this user; the `temporal` of the tests, it does."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GAMEPIPE"))}
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
        return subprocess.run(
            command,
            env=kept | {"XDG_DATA_HOME": str(self.folder), "COLUMNS": "200"} | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _uv(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "uv", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if any(sign in done.stderr for sign in _UNREACHED):
        require("index", _NO_INDEX)
    assert done.returncode == 0, done.stderr
