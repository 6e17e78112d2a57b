"""Disabling a node: everything on it is stopped, whatever happens meanwhile."""

from datetime import timedelta

import pytest

from activities.emptying import NodeEmptier
from gamepipe.model.record import PipelineRecord
from gamepipe.model.state import NodeState, PipelineState
from gamepipe.ports import NodeChange
from gamepipe.stopping import Stopper
from gamepipe.wire import CancelOrder
from tests.gateway.conftest import Gateway
from tests.gateway.test_pipelines import _offer
from tests.waiting import eventually
from tests.workflows.node import ScriptedNode, now, until_stopped

ONE = {"name": "one", "steps": [{"name": "only", "type": "command", "command": "true"}]}


async def run_two(gateway: Gateway) -> tuple[ScriptedNode, list[str]]:
    """Two pipelines that run on one node until they are stopped."""
    node = await gateway.node("n1", only=until_stopped)
    ids = [await gateway.submit(ONE) for _ in range(2)]

    async def both() -> bool:
        return len(node.assignments) == 2

    await eventually(both, what="both steps to start")
    return node, ids


async def test_a_pipeline_that_ends_meanwhile_keeps_no_other_one_running(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, ids = await run_two(gateway)
    cancel, ended = Stopper.cancel, list[str]()

    async def cancel_late(self: Stopper, pipeline_id: str, order: CancelOrder) -> PipelineRecord:
        if not ended:  # the first one fails between the look at the node and its cancel
            ended.append(pipeline_id)
            await gateway.store.pipelines.update_status(
                pipeline_id, PipelineState.FAILED, reason="X", message="", now=now()
            )
        return await cancel(self, pipeline_id, order)

    monkeypatch.setattr(Stopper, "cancel", cancel_late)
    answer = await gateway.http.patch("/nodes/n1", json={"state": "disabled"})
    assert (answer.status_code, answer.json()["state"]) == (200, "disabled")
    (other,) = set(ids) - set(ended)
    record = await gateway.ended(other)
    assert (record["state"], record["message"]) == ("canceled", "node n1 was disabled")


async def test_what_a_gateway_left_running_on_a_disabled_node_is_stopped_by_the_sweep(
    gateway: Gateway,
) -> None:
    _, ids = await run_two(gateway)
    change = NodeChange(state=NodeState.DISABLED)
    await gateway.store.nodes.update("n1", change, now=now())  # and there it died
    emptier = NodeEmptier(
        store=gateway.store,
        stopper=Stopper(store=gateway.store, client=gateway.client, now=now),
        grace=timedelta(seconds=1),
    )
    for _ in range(2):  # repeating it does no harm
        await emptier.run_once()
    assert [(await gateway.ended(one))["state"] for one in ids] == ["canceled"] * 2


async def test_a_pipeline_that_had_no_more_than_an_offer_there_waits_again(
    gateway: Gateway,
) -> None:
    """It runs on another node later; nothing of it ran, so nothing of it is canceled."""
    node = await gateway.node("n1", only=until_stopped)
    full = ONE | {"resources": {"cpu": 64}}
    first, second = await gateway.submit(full), await gateway.submit(full)

    async def waits() -> bool:
        return bool((await gateway.http.get(f"/pipelines/{second}/placement")).json()["waiting"])

    await node.started["only"].wait()
    await eventually(waits, what="the queue entry")
    await gateway.store.pipelines.update_status(
        first, PipelineState.FAILED, reason="X", message="", now=now()
    )
    (order,) = await gateway.store.nodes.stop_orders("n1")
    # And the signal of the offer that follows was lost.
    offers = await gateway.store.nodes.confirm_stop(order.id, node_id="n1", now=now())
    assert [offer.pipeline_id for offer in offers] == [second]
    assert (await gateway.http.patch("/nodes/n1", json={"state": "disabled"})).status_code == 200
    assert await waits()
    await gateway.node("n2")
    await eventually(lambda: _offer(gateway), what="an offer of the other node")
    record = await gateway.ended(second)
    assert (record["state"], record["node_id"]) == ("completed", "n2")
