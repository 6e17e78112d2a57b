"""Two hundred pipelines of three tenants on fifty light agents: too many to run at once."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from temporalio.client import Client

from gamepipe import searchattribute
from gamepipe.wire import workflow_id
from tests.e2e.holdings import Change, record_changes, recorded_changes
from tests.e2e.stack import RunningStack, wait_for
from tests.workflows.test_saving import activities_in

AGENTS = 50
FLOOD, SOME, FEW = "flood", "some", "few"
PIPELINES = {FLOOD: 130, SOME: 50, FEW: 20}
MOST_ASKED = 2
"""A pipeline asks for its placement, and once more when it is offered one."""

FILE = """
name: {tenant}
tenant: {tenant}
resources: {{cpu: 1}}
steps:
  - {{name: work, type: command, command: "true"}}
"""


@contextmanager
def crowd(stack: RunningStack) -> Iterator[None]:
    """The agents, from the moment that all are connected."""
    addresses = (stack.info["grpc_address"], stack.info["temporal_address"])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.crowd", *addresses, str(AGENTS)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        yield
        assert process.poll() is None, "the agents ended before their work did"
    finally:
        process.kill()
        process.wait()


def submit_all(stack: RunningStack) -> list[str]:
    """The flood first."""
    tenants = [tenant for tenant, count in PIPELINES.items() for _ in range(count)]
    with ThreadPoolExecutor(8) as clients:
        first = [stack.submit(FILE.format(tenant=tenant)) for tenant in (FLOOD,) * 8]
        rest = clients.map(lambda tenant: stack.submit(FILE.format(tenant=tenant)), tenants[8:])
        return [*first, *rest]


def total(stack: RunningStack, state: str) -> int:
    answer = stack.http.get("/pipelines", params={"state": state, "size": 1})
    return int(answer.json()["total"])


def check_each_went_to_who_held_least(changes: Sequence[Change]) -> None:
    """Of the tenants of whom somebody waited: all ask for the same, and weigh the same."""
    held, waiting = Counter[str](), Counter(PIPELINES)
    for number, change in enumerate(changes):
        if change.placed:
            least = min(held[tenant] for tenant, count in waiting.items() if count)
            assert held[change.tenant] == least, (number, change, held, waiting)
            waiting[change.tenant] -= 1
        held[change.tenant] += 1 if change.placed else -1
    assert not waiting.total()


async def times_asked(stack: RunningStack, ids: list[str]) -> list[int]:
    """How often each asked for its placement."""
    client = await Client.connect(stack.info["temporal_address"])
    room = asyncio.Semaphore(16)

    async def count(pipeline_id: str) -> int:
        async with room:
            handle = client.get_workflow_handle(workflow_id(pipeline_id))
            return activities_in(await handle.fetch_history()).count("place_pipeline")

    return await asyncio.gather(*map(count, ids))


async def shown_in_temporal(stack: RunningStack) -> tuple[int, str]:
    """How many of one tenant its lists show as waiting; what the run's page says of one."""
    client = await Client.connect(stack.info["temporal_address"])
    query = f"{searchattribute.STATE.name} = 'pending' AND {searchattribute.TENANT.name} = '{FEW}'"
    names = [one.id async for one in client.list_workflows(query)]
    if not names:
        return 0, ""
    metadata = await client.get_workflow_handle(names[0]).query("__temporal_workflow_metadata")
    return len(names), str(metadata.current_details)


def check_who_waits(stack: RunningStack, ids: list[str]) -> None:
    """In `list`, over REST and in Temporal's UI."""

    wait_for(lambda: total(stack, "pending") == len(ids), what="everybody to wait")
    items = stack.http.get("/pipelines", params={"size": 1000}).json()["items"]
    assert {one["reason"] for one in items} == {"NO_CAPACITY"}
    placement = stack.http.get(f"/pipelines/{ids[0]}/placement").json()
    assert placement["waiting"]
    assert [(one["node_id"], one["code"]) for one in placement["verdicts"]] == [
        ("local", "NODE_NOT_NORMAL")
    ]
    table = stack.run("list", "--state", "pending", "--size", "1000").stdout
    assert table.count("none of 1 node(s) fits") == len(ids)

    def shown() -> bool:
        count, details = asyncio.run(shown_in_temporal(stack))
        return count == PIPELINES[FEW] and "NODE_NOT_NORMAL" in details

    wait_for(shown, what="Temporal's lists to show them")


def test_two_hundred_pipelines_on_fifty_agents_complete_in_fair_order_and_none_polls(
    make_stack: Callable[..., RunningStack],
) -> None:
    stack = make_stack(GAMEPIPE_NODE_TTL="30")  # a loaded machine may hold heartbeats up
    assert stack.http.patch("/nodes/local", json={"state": "maintenance"}).status_code == 200
    ids = submit_all(stack)
    check_who_waits(stack, ids)
    record_changes(stack.store_url)
    with crowd(stack):
        wait_for(
            lambda: total(stack, "completed") == len(ids),
            seconds=120,
            what="all of them to complete",
        )
    changes = recorded_changes(stack.store_url)
    check_each_went_to_who_held_least(changes)
    order = [change.tenant for change in changes if change.placed]
    first = Counter(order[:AGENTS])
    print(f"of the first {AGENTS} placements: {dict(first)}")
    assert max(first.values()) - min(first.values()) <= 1
    last_of_few = max(place for place, tenant in enumerate(order, 1) if tenant == FEW)
    print(f"the last of {PIPELINES[FEW]} of the smallest tenant was placement {last_of_few}")
    asked = asyncio.run(times_asked(stack, ids))
    print(f"placements asked for: {Counter(asked)}")
    assert max(asked) <= MOST_ASKED
