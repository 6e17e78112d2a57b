"""Files of the agent that a failing disk or somebody damaged: each costs what it said, no more."""

from pathlib import Path

import pytest

from gamepipe.agent.data_dir import hold
from gamepipe.agent.journal import AttemptJournal
from gamepipe.agent.lease import Lease, LeaseFolder
from gamepipe.model.errors import AlreadyExists, InvalidRequest
from gamepipe.model.state import StepState
from tests.agent.making import assignment, processes_of
from tests.agent.node import Node, stop_of

DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "garbage": lambda content: b"\xff\x00" * len(content),
    "other JSON": lambda _: b'{"run_id": 7}',
}


def damage(path: Path, kind: str) -> None:
    path.write_bytes(DAMAGE[kind](path.read_bytes()))


def entry_of(node: Node, step_index: int = 0) -> Path:
    return node.folders.journal / f"p/g1/step-{step_index}/a1.json"


@pytest.mark.parametrize("kind", DAMAGE)
async def test_a_running_step_whose_entry_is_damaged_is_adopted_all_the_same(
    tmp_path: Path, kind: str
) -> None:
    node, go = Node(tmp_path / "agent"), tmp_path / "go"
    step = assignment(f"echo up; while [ ! -e {go} ]; do sleep 0.01; done; echo down")
    node.run(step)
    await node.until_line("up")
    await node.close()
    damage(entry_of(node), kind)
    node.start()
    again = node.run(step)
    go.touch()
    assert (await again).state is StepState.COMPLETED
    assert node.texts() == ["up", "down"]
    await node.close()


@pytest.mark.parametrize("kind", DAMAGE)
async def test_an_end_whose_entry_is_damaged_is_found_again_without_running_twice(
    tmp_path: Path, kind: str
) -> None:
    node, ran = Node(tmp_path / "agent"), tmp_path / "ran"
    step = assignment(f"echo once >> {ran}; echo a=1 >> $GAMEPIPE_OUTPUT")
    assert (await node.run(step)).outputs == {"a": "1"}
    damage(entry_of(node), kind)
    await node.restart()
    result = await node.run(step)
    assert (result.state, result.outputs) == (StepState.COMPLETED, {"a": "1"})
    assert ran.read_text() == "once\n"
    await node.close()


async def test_a_damaged_entry_costs_no_other_attempt_its_own(tmp_path: Path) -> None:
    node = Node(tmp_path / "agent")
    for index in (0, 1):
        await node.run(assignment("true", step_index=index))
    damage(entry_of(node), "garbage")
    await node.restart()
    assert [key.step_index for key, _ in node.journal.entries()] == [1]
    await node.close()


async def test_a_step_with_a_damaged_entry_can_be_stopped(tmp_path: Path) -> None:
    """Nobody knows it any more, but its end is asked for by its generation."""
    node = Node(tmp_path / "agent")
    node.run(assignment("echo up; sleep 1000"))
    await node.until_line("up")
    await node.close()
    damage(entry_of(node), "truncated")
    node.start()
    await node.runner.stop(stop_of(grace_seconds=0.0), run_id="r")
    await node.runner.stop_generation("p", 1, None, grace_seconds=0.0)
    assert processes_of(node.folders) == []
    await node.close()


@pytest.mark.parametrize("kind", DAMAGE)
async def test_a_damaged_lease_is_passed_over_and_the_others_are_kept(
    tmp_path: Path, kind: str
) -> None:
    leases = LeaseFolder(tmp_path)
    for index in (0, 1):
        step = assignment("true", step_index=index)
        await leases.keep(Lease(task_token="00", run_id="r", assignment=step))
    damage(tmp_path / "p+g1+step-0+a1.json", kind)
    assert [lease.key.step_index for lease in leases.all()] == [1]


async def test_what_a_killed_agent_was_just_writing_is_no_entry(tmp_path: Path) -> None:
    folder = tmp_path / "journal/p/g1/step-0"
    folder.mkdir(parents=True)
    (folder / ".a1.json.tmp").write_bytes(b'{"run')
    assert list(AttemptJournal(tmp_path / "journal").entries()) == []
    (tmp_path / ".p+g1+step-0+a1.json.tmp").write_bytes(b'{"task')
    assert list(LeaseFolder(tmp_path).all()) == []


def test_the_directory_of_another_node_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with hold(tmp_path, "one"):
        pass
    with pytest.raises(InvalidRequest, match="--node-id one"), hold(tmp_path, "other"):
        pass
    with hold(tmp_path, "one"):
        pass


def test_a_second_agent_of_the_same_node_is_refused(tmp_path: Path) -> None:
    with hold(tmp_path, "one"), pytest.raises(AlreadyExists), hold(tmp_path, "one"):
        pass
