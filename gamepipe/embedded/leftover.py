"""Ends what the agent of a throw-away stack left running; nobody would ever adopt it."""

import time
from pathlib import Path

from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.launch import Launch

GONE_SECONDS = 3.0
_LOOK_SECONDS = 0.02


def kill_steps(agent_dir: Path) -> None:
    """Kill every command step below an agent's data directory, and wait until all are gone.

    The agent must have ended. Blocks, at most for about `GONE_SECONDS`.
    """
    attempts = AgentFolders(agent_dir.resolve()).attempts.glob("*/g*/step-*/a*")
    launches = [launch for attempt in attempts for launch in Launch.all(attempt)]
    deadline = time.monotonic() + GONE_SECONDS
    for launch in launches:
        while launch.is_alive() and time.monotonic() < deadline:
            launch.send(b"K")
            time.sleep(_LOOK_SECONDS)
        launch.give_up()
