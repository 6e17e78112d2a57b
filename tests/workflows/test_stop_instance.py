"""Stops of games whose node does not answer."""

from datetime import timedelta

from temporalio.client import WorkflowHandle

from activities.stopsweep import StopSweep
from gamepipe.model.record import Instance
from gamepipe.model.state import Connectivity, InstanceState
from gamepipe.wire import CONTROL_QUEUE, InstanceStop, StopInstanceOrder
from tests.waiting import eventually
from tests.workflows.conftest import Stack
from tests.workflows.node import ScriptedNode, done, now

SERVICE = """
name: game
steps:
  - {name: game, type: service, container: {image: game}}
"""


async def _leave_game(
    stack: Stack, node_id: str, pipeline_id: str
) -> tuple[ScriptedNode, Instance]:
    async def up(node: ScriptedNode, assignment: object) -> object:
        game = Instance(
            id=f"{pipeline_id}.g1.s0",
            pipeline_id=pipeline_id,
            generation=1,
            step_index=0,
            step_name="game",
            attempt=1,
            node_id=node.id,
        )
        return done(instance=game)

    node = await stack.node(node_id, game=up)  # type: ignore[arg-type]
    await stack.finish(await stack.submit(SERVICE, pipeline_id=pipeline_id))
    return node, await stack.store.instances.get(f"{pipeline_id}.g1.s0")


async def _stop(stack: Stack, game: Instance) -> WorkflowHandle[object, object]:
    order = StopInstanceOrder(
        instance_id=game.id,
        pipeline_id=game.pipeline_id,
        generation=1,
        step_index=0,
        grace_seconds=1,
    )
    handle = await stack.client.start_workflow(
        "StopInstance",
        InstanceStop(node_id=game.node_id, order=order),
        id=f"stop-instance-{game.id}",
        task_queue=CONTROL_QUEUE,
    )

    async def begun() -> bool:
        return (await stack.store.instances.get(game.id)).state is not InstanceState.RUNNING

    await eventually(begun)
    return handle


async def test_a_stop_on_a_node_that_never_returns_leaves_its_id_to_a_later_game(
    stack: Stack,
) -> None:
    _, game = await _leave_game(stack, "a-silent", "game-again")
    await stack.nodes.aclose()
    waiting = await _stop(stack, game)
    await stack.store.nodes.mark("a-silent", Connectivity.LOST, now=now())
    later = StopSweep(
        store=stack.store, client=stack.client, now=lambda: now() + timedelta(minutes=1)
    )
    await later.run_once()
    assert (await waiting.describe()).close_time is None, "the game may come back with its node"
    await stack.store.pipelines.delete("game-again", now=now())

    async def given_up() -> bool:
        await later.run_once()
        return (await waiting.describe()).close_time is not None

    await eventually(given_up)
    node, game = await _leave_game(stack, "b-present", "game-again")
    await (await _stop(stack, game)).result()
    assert (await stack.store.instances.get(game.id)).state is InstanceState.STOPPED
    assert len(node.instance_stops) == 1


async def test_a_late_end_elsewhere_does_not_end_a_later_game_of_the_same_name(
    stack: Stack,
) -> None:
    first, game = await _leave_game(stack, "a-slow", "game-moved")
    await stack.nodes.aclose()
    late = await _stop(stack, game)
    await stack.store.nodes.mark("a-slow", Connectivity.LOST, now=now())
    await stack.store.pipelines.delete("game-moved", now=now())
    _, moved = await _leave_game(stack, "b-other", "game-moved")
    assert moved.node_id == "b-other"
    async with first.worker():
        await late.result()
    assert (await stack.store.instances.get(game.id)).state is InstanceState.RUNNING
