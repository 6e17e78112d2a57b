"""The step runner with real processes."""

import asyncio
from dataclasses import replace
from pathlib import Path

from gamepipe.agent.values import Values, ValuesRefused, ValuesUnavailable
from gamepipe.model import reason as reasons
from gamepipe.model.record import AttemptKey
from gamepipe.model.state import StepState
from gamepipe.wire import (
    CleanWorkspace,
    ReportKind,
    Scope,
)
from tests.agent.making import assignment
from tests.agent.node import Node, stop_of
from tests.waiting import eventually


async def test_outputs_and_lines_are_in_the_result(node: Node):
    script = "echo line; echo KEY=first >> $GAMEPIPE_OUTPUT; echo KEY=a=b >> $GAMEPIPE_OUTPUT"
    result = await node.run(assignment(script))
    assert result.state is StepState.COMPLETED
    assert result.outputs == {"KEY": "a=b"}
    assert result.log_lines == 1
    assert node.texts() == ["line"]


async def test_a_failure_is_a_result(node: Node):
    result = await node.run(assignment("exit 9"))
    assert (result.state, result.reason, result.exit_code) == (
        StepState.FAILED,
        reasons.EXIT_CODE,
        9,
    )
    assert result.retryable


async def test_commands_need_permission(tmp_path: Path):
    node = Node(tmp_path / "agent", allow_commands=False)
    result = await node.run(assignment("touch should-not-be"))
    assert (result.reason, result.retryable) == (reasons.COMMANDS_NOT_ALLOWED, False)
    assert "--allow-commands" in result.message
    assert not list(node.folders.root.rglob("should-not-be"))


async def test_the_timeout_counts_from_the_start(node: Node):
    result = await node.run(assignment("echo up; sleep 1000", timeout_seconds=0.3))
    assert (result.reason, result.retryable) == (reasons.STEP_TIMEOUT, True)
    assert "0.3 s" in result.message


async def test_the_timeout_goes_on_across_agents(node: Node):
    step = assignment("echo up; sleep 1000", timeout_seconds=1.0)
    node.run(step)
    await node.until_line("up")
    begun_at = dict(node.journal.unfinished())[
        AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
    ].begun_at
    await node.restart()
    result = await node.run(step)
    assert result.reason == reasons.STEP_TIMEOUT
    assert (result.ended_at - begun_at).total_seconds() < 3.0


async def test_values_reach_the_step_and_nothing_else(node: Node):
    node.values.values = Values(envs={"PASSWORD": "sesam-open"}, secrets={"KEY": "s3cr3t!"})
    node.values.errors = [ValuesUnavailable("not now")]
    step = assignment("echo ${{ envs.PASSWORD }}; echo k=${{ secrets.KEY }} >> $GAMEPIPE_OUTPUT")
    scope = Scope(env_names=("PASSWORD",), secret_names=("KEY",))
    result = await node.run(replace(step, scope=scope))
    assert result.state is StepState.COMPLETED
    assert node.texts() == ["***"]
    assert result.outputs == {"k": "***"}
    files = [path for path in node.folders.root.rglob("*") if path.is_file()]
    marked = [path for path in files if b"sesam-open" in path.read_bytes()]
    assert [path for path in marked if not path.name.startswith("out-")] == []


async def test_refused_values_end_the_step(node: Node):
    node.values.errors = [ValuesRefused("not yours")]
    step = assignment("echo ${{ envs.A }}", scope=Scope(env_names=("A",)))
    result = await node.run(step)
    assert (result.reason, result.retryable) == (reasons.RUNNER_ERROR, False)


async def test_progress_is_thinned(node: Node):
    script = (
        "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); "
        'echo "GAMEPIPE_PROGRESS=$((i/10)) item $i" >> $GAMEPIPE_OUTPUT; done; sleep 0.2'
    )
    result = await node.run(assignment(script))
    assert result.state is StepState.COMPLETED
    progress = [report for report in node.reports if report.kind is ReportKind.PROGRESS]
    assert 1 <= len(progress) <= 40
    assert progress[-1].percent == 100.0


async def test_outputs_are_told_while_the_step_runs(node: Node, tmp_path: Path):
    gate = tmp_path / "gate"
    node.values.values = Values(secrets={"KEY": "hush-hush"})
    script = f"""
echo A=1 >> $GAMEPIPE_OUTPUT; echo B=${{{{ secrets.KEY }}}}! >> $GAMEPIPE_OUTPUT
until [ -e {gate}.1 ]; do sleep 0.02; done
echo A=2 >> $GAMEPIPE_OUTPUT; echo GAMEPIPE_PROGRESS=50 half >> $GAMEPIPE_OUTPUT
until [ -e {gate}.2 ]; do sleep 0.02; done; echo C=3 >> $GAMEPIPE_OUTPUT"""

    def told() -> dict[str, str]:
        return {k: v for report in node.reports for k, v in report.outputs.items()}

    running = node.run(assignment(script, scope=Scope(secret_names=("KEY",))))
    await eventually(lambda: told() == {"A": "1", "B": "***!"})
    assert {report.percent for report in node.reports if report.outputs} == {None}
    (tmp_path / "gate.1").touch()
    await eventually(lambda: told().get("A") == "2")
    assert "half" in {report.message for report in node.reports}
    (tmp_path / "gate.2").touch()
    assert (await running).outputs == {"A": "2", "B": "***!", "C": "3"}


async def test_what_would_be_refused_is_not_told_before(node: Node, tmp_path: Path):
    gate = tmp_path / "gate"
    script = f"""head -c 70000 /dev/zero | tr '\\0' x | sed s/^/BIG=/ >> $GAMEPIPE_OUTPUT
echo >> $GAMEPIPE_OUTPUT; echo OTHER=1 >> $GAMEPIPE_OUTPUT; echo GOOD=1 >> $GAMEPIPE_OUTPUT
until [ -e {gate} ]; do sleep 0.02; done"""
    step = assignment(script)
    step = replace(step, step=replace(step.step, outputs=("GOOD", "BIG")))
    running = node.run(step)
    await eventually(lambda: [report.outputs for report in node.reports if report.outputs])
    gate.touch()
    assert (await running).reason == reasons.OUTPUT_INVALID
    assert [report.outputs for report in node.reports if report.outputs] == [{"GOOD": "1"}]


async def test_a_bad_output_fails_the_step(node: Node):
    result = await node.run(assignment("echo 'no pair' >> $GAMEPIPE_OUTPUT"))
    assert (result.state, result.reason) == (StepState.FAILED, reasons.OUTPUT_INVALID)
    assert "line 1" in result.message


async def test_steps_beyond_the_limit_wait_their_turn(tmp_path: Path):
    node = Node(tmp_path / "agent", max_steps=2)
    go = tmp_path / "go"
    script = f"echo up; while [ ! -e {go} ]; do sleep 0.01; done"
    running = [node.run(assignment(script, step_index=index)) for index in range(4)]
    await node.until_line("up", 0)
    await node.until_line("up", 1)
    assert node.slots.used == 2
    assert node.texts(2) == node.texts(3) == []
    go.touch()
    results = await asyncio.gather(*running)
    assert {result.state for result in results} == {StepState.COMPLETED}
    assert node.slots.used == 0
    await node.close()


async def test_a_loaded_runner_stops_one_step_within_a_second(tmp_path: Path):
    node = Node(tmp_path / "agent", max_steps=8)
    steps = [assignment("echo up; sleep 1000", step_index=index) for index in range(108)]
    tasks = [node.run(step) for step in steps]
    for index in range(8):
        await node.until_line("up", index)
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(node.runner.stop(stop_of(3), run_id="r"), 20)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert (await tasks[3]).reason == reasons.CANCELED
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(node.runner.stop(stop_of(100), run_id="r"), 20)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert (await tasks[100]).reason == reasons.STOPPED_BEFORE_START
    await node.runner.clean(CleanWorkspace(pipeline_id="p", generation=1))
    await asyncio.gather(*tasks)
    await node.close()


async def test_a_command_sees_its_own_gpus(tmp_path: Path):
    node = Node(tmp_path / "agent", gpu_uuids={0: "GPU-a", 1: "GPU-b", 2: ""})
    script = 'echo "$CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"'
    for index, devices in enumerate([(0, 1), (1, 2), ()]):
        await node.run(assignment(script, step_index=index, gpu_devices=devices))
    await node.close()
    assert node.texts(0) == ["GPU-a,GPU-b GPU-a,GPU-b PCI_BUS_ID"]
    assert node.texts(1) == ["1,2 1,2 PCI_BUS_ID"]
    assert [text.strip() for text in node.texts(2)] == [""]


async def test_a_value_too_short_to_be_masked_is_named_once(node: Node, tmp_path: Path):
    go = tmp_path / "go"
    node.values.values = Values(envs={"SHORT": "on", "LONG": "long enough", "EMPTY": ""})
    scope = Scope(env_names=("EMPTY", "LONG", "SHORT"))
    script = f"echo ${{{{ envs.SHORT }}}}; while [ ! -e {go} ]; do sleep 0.01; done"
    step = assignment(script, scope=scope)
    node.run(step)
    await node.until_line("on")
    await node.restart()
    adopted = node.run(replace(step, dispatch=2))
    go.touch()
    assert (await adopted).state is StepState.COMPLETED
    assert node.texts() == ["too short to be masked in this log: the value of SHORT", "on"]
