"""`gamepipe` on a machine whose clock is an hour ahead: `python -m tests.e2e.skewed agent ...`."""

from datetime import UTC, datetime, timedelta

from gamepipe.agent import main as agent
from gamepipe.cli.main import main

SKEW = timedelta(hours=1)


def skewed_now() -> datetime:
    return datetime.now(UTC) + SKEW


if __name__ == "__main__":
    agent.utc_now = skewed_now
    main()
