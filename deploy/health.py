"""Health checks of our containers: `health.py gateway|worker|agent`, settings as theirs.

The gateway is healthy when it is ready. A worker or an agent listens nowhere: it is healthy when
Temporal saw it ask for work within the last two long polls.
"""

import asyncio
import http.client
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError

from gamepipe.agent.settings import AgentSettings
from gamepipe.config import Settings
from gamepipe.connecting import connect_temporal
from gamepipe.leaving import leave
from gamepipe.model.errors import GamePipeError
from gamepipe.setting import read_settings
from gamepipe.wire import CONTROL_QUEUE, node_queue

ANSWER_SECONDS = 5.0
LONGEST_SILENCE = timedelta(minutes=2)


class Unhealthy(Exception):
    """Why; the engine keeps it with the container."""


def check_gateway() -> None:
    """Store and Temporal answer through it."""
    url = f"http://127.0.0.1:{read_settings(Settings).rest_port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        raise Unhealthy(error.read().decode(errors="replace")) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unhealthy(f"{url}: {error}") from error


def check_worker() -> None:
    settings = read_settings(Settings)
    _check_poller(
        settings.temporal_address,
        settings.temporal_namespace,
        queue=CONTROL_QUEUE,
        is_ours=lambda identity: identity.endswith(f"@{socket.gethostname()}"),
    )


def check_agent() -> None:
    settings = read_settings(AgentSettings)
    if not settings.temporal_address:
        raise Unhealthy("set GAMEPIPE_AGENT_TEMPORAL_ADDRESS to host:port, here and for the agent")
    _check_poller(
        settings.temporal_address,
        settings.temporal_namespace or "default",
        queue=node_queue(settings.node_id),
        is_ours=lambda identity: identity == f"agent-{settings.node_id}",
    )


def _check_poller(
    address: str, namespace: str, *, queue: str, is_ours: Callable[[str], bool]
) -> None:
    pollers = asyncio.run(_pollers(address, namespace, queue))
    since = datetime.now(UTC) - LONGEST_SILENCE
    if not any(is_ours(one.identity) and _last_poll(one) > since for one in pollers):
        raise Unhealthy(f"nothing of this container has polled {queue} since {since:%H:%M:%S} UTC")


async def _pollers(address: str, namespace: str, queue: str) -> list[PollerInfo]:
    client = await connect_temporal(address, namespace, patience_seconds=ANSWER_SECONDS)
    question = DescribeTaskQueueRequest(
        namespace=namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    )
    limit = timedelta(seconds=ANSWER_SECONDS)
    try:
        answer = await client.workflow_service.describe_task_queue(question, timeout=limit)
    except RPCError as error:
        raise Unhealthy(f"Temporal at {address}, namespace {namespace}: {error}") from error
    return list(answer.pollers)


def _last_poll(poller: PollerInfo) -> datetime:
    return poller.last_access_time.ToDatetime(tzinfo=UTC)


CHECKS = {"gateway": check_gateway, "worker": check_worker, "agent": check_agent}


def main() -> None:
    """Exit status 0: healthy; 1: not, with the reason in one line on standard error."""
    check = CHECKS.get(sys.argv[1]) if len(sys.argv) == 2 else None
    if check is None:
        sys.exit(f"usage: health.py {'|'.join(CHECKS)}")
    try:
        check()
    except (Unhealthy, GamePipeError) as error:
        sys.exit(f"unhealthy: {' '.join(str(error).split())}")


if __name__ == "__main__":
    leave(main)
