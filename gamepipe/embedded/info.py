"""Where a running stack is reached: a file in its data directory."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INFO_FILE = "stack.json"


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """Where a running stack is reached; written to `stack.json` in its data directory."""

    pid: int
    url: str
    grpc_address: str
    temporal_address: str
    temporal_ui_url: str
    pids: Mapping[str, int]


def default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "gamepipe"


def read_info(data_dir: Path) -> StackInfo | None:
    """The stack that runs on a data directory; None when none does."""
    try:
        info = StackInfo(**json.loads((data_dir / INFO_FILE).read_text(encoding="utf-8")))
        os.kill(info.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return info
