"""A container's output: every line once, whatever it holds and whoever dies meanwhile."""

import pytest

from gamepipe.agent.container_facts import container_name
from gamepipe.agent.container_log import MAX_LINE_BYTES
from gamepipe.agent.mask import Masker, MaskingSink
from gamepipe.model.record import LogStream
from gamepipe.model.spec import StepType
from tests.agent.container.conftest import Attempt, Bench, MemorySink
from tests.waiting import eventually

pytestmark = pytest.mark.docker
LINES = 20_000


def joined(sink: MemorySink, stream: LogStream = LogStream.STDOUT) -> list[str]:
    """Lines with their continued parts put together."""
    lines: list[str] = []
    is_open = False
    for line in sink.lines:
        if line.stream is not stream:
            continue
        if is_open:
            lines[-1] += line.text
        else:
            lines.append(line.text)
        is_open = line.continued
    return lines


async def test_many_lines_a_long_one_and_broken_text_arrive_whole(bench: Bench) -> None:
    leave, attempt = await bench.run(
        f"seq 1 {LINES}",
        "head -c 204800 /dev/zero | tr '\\0' x; echo",
        "printf 'bad \\377 byte\\n'",
        "printf '\\033[31mred\\033[0m\\r\\n'",
        "printf 'no end'",
        f"seq 1 {LINES} >&2",
    )
    assert leave.exit_code == 0
    numbers = [str(number) for number in range(1, LINES + 1)]
    assert joined(attempt.sink, LogStream.STDERR) == numbers
    lines = joined(attempt.sink)
    assert lines[:LINES] == numbers
    assert lines[LINES] == "x" * 204_800
    assert lines[LINES + 1 :] == ["bad � byte", "\x1b[31mred\x1b[0m", "no end"]
    parts = [line for line in attempt.sink.lines if "xx" in line.text]
    assert [len(part.text) for part in parts] == [MAX_LINE_BYTES] * 3 + [8192]
    assert [part.continued for part in parts] == [True, True, True, False]


async def test_a_long_line_is_not_cut_within_a_character(bench: Bench) -> None:
    leave, attempt = await bench.run(
        "i=0; while [ $i -lt 12 ]; do printf €€€€€€€€€€€€€€€€€€€€; i=$((i+1)); done > t",
        "i=0; while [ $i -lt 250 ]; do cat t; i=$((i+1)); done; echo",
    )
    assert leave.exit_code == 0
    (line,) = joined(attempt.sink)
    assert line == "€" * (20 * 12 * 250)
    assert sum(1 for one in attempt.sink.lines if one.continued) == 2


async def test_a_line_of_exactly_the_limit_is_one_line(bench: Bench) -> None:
    _, attempt = await bench.run(f"head -c {MAX_LINE_BYTES} /dev/zero | tr '\\0' y; echo", "echo z")
    assert [len(text) for text in attempt.sink.texts()] == [MAX_LINE_BYTES, 1]


@pytest.mark.parametrize("die_after", [1, 777, 5003])
async def test_a_restarted_agent_loses_and_doubles_no_line(bench: Bench, die_after: int) -> None:
    plan = bench.plan(
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo out $i; echo err $i >&2; "
        "[ $((i % 1000)) = 0 ] && sleep 0.3; done; true",
        "head -c 100000 /dev/zero | tr '\\0' x; echo",
        "touch done",
        "while [ ! -e go ]; do sleep 0.05; done",
        "echo last",
    )
    sink = MemorySink(die_after=die_after)
    first = Attempt(plan=plan, sink=sink).start(bench.runtime)
    await eventually(lambda: len(sink.lines) >= die_after)
    await first.crash()
    sink.die_after = None
    second = Attempt(plan=plan, sink=sink).start(bench.restarted())
    await second.until_line("adopted the running container")
    (plan.workspace / "go").touch()
    leave = await second.end()
    assert leave.exit_code == 0
    assert leave.started_at == first.running_since[0]
    assert second.running_since == first.running_since
    numbers = range(1, 3001)
    assert joined(sink, LogStream.STDERR) == [f"err {number}" for number in numbers]
    assert joined(sink) == [*(f"out {number}" for number in numbers), "x" * 100_000, "last"]


@pytest.mark.parametrize("die_after", [1, 2, 3, 4])
async def test_a_piece_that_a_masking_sink_holds_back_is_not_lost(
    bench: Bench, die_after: int
) -> None:
    """Lines of stderr lie between the pieces of a long line that has no end yet."""
    plan = bench.plan(
        "for i in 1 2 3 4 5 6 7 8; do head -c 32768 /dev/zero | tr '\\0' $i; sleep 0.1;"
        " echo err $i >&2; sleep 0.1; done; echo",
    )
    sink = MemorySink(die_after=die_after)
    masker = Masker(["never-there"])
    first = Attempt(plan=plan, sink=MaskingSink(sink, masker)).start(bench.runtime)
    await eventually(lambda: len(sink.lines) >= die_after)
    await first.crash()
    sink.die_after = None
    again = MaskingSink(sink, masker)
    second = Attempt(plan=plan, sink=again).start(bench.restarted())
    assert (await second.end()).exit_code == 0
    await again.flush()
    assert joined(sink) == ["".join(str(number) * 32768 for number in range(1, 9))]
    assert joined(sink, LogStream.STDERR) == [f"err {number}" for number in range(1, 9)]


async def test_an_agent_that_dies_again_and_again_loses_nothing(bench: Bench) -> None:
    plan = bench.plan(
        "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.02; done",
    )
    sink = MemorySink()
    for upto in (40, 80, 120, 200):
        sink.die_after = upto
        attempt = Attempt(plan=plan, sink=sink).start(bench.restarted())
        await eventually(lambda upto=upto: len(sink.lines) >= upto)
        await attempt.crash()
    sink.die_after = None
    leave = await Attempt(plan=plan, sink=sink).start(bench.restarted()).end()
    assert leave.exit_code == 0
    assert joined(sink) == [str(number) for number in range(1, 401)]


async def test_an_ended_container_is_adopted_with_its_output(bench: Bench) -> None:
    plan = bench.plan("echo one", "echo two", "exit 5")
    sink = MemorySink(die_after=1)
    first = Attempt(plan=plan, sink=sink).start(bench.runtime)

    async def ended() -> bool:
        facts = await bench.facts(plan)
        return facts is not None and facts.started_at is not None and not facts.is_running

    await eventually(ended)
    await first.crash()
    sink.die_after = None
    leave = await Attempt(plan=plan, sink=sink).start(bench.restarted()).end()
    assert (leave.exit_code, leave.message) == (5, "exit code 5")
    assert joined(sink) == ["one", "two"]


async def test_a_container_that_was_never_started_is_started(bench: Bench) -> None:
    plan = bench.plan("echo hi")
    starter = bench.runtime._starter
    assert plan.step.container is not None
    await starter._create(plan, plan.step.container, {}, MemorySink())
    created = await bench.facts(plan)
    attempt = bench.start(plan)
    assert (await attempt.end()).exit_code == 0
    after = await bench.facts(plan)
    assert created is not None
    assert after is not None
    assert created.id == after.id
    assert attempt.sink.texts() == ["hi"]


async def test_a_leftover_of_others_under_the_name_is_removed(bench: Bench) -> None:
    plan = bench.plan("echo mine")
    body = {"Image": bench.image, "Cmd": ["sleep", "600"], "Labels": {"gamepipe.attempt": "9"}}
    name = container_name(plan.key)
    created = await bench.engine.call("POST", "containers/create", data=body, name=name)
    await bench.engine.call("POST", f"containers/{created['Id']}/start")
    attempt = bench.start(plan)
    assert (await attempt.end()).exit_code == 0
    assert attempt.sink.texts() == ["mine"]
    assert await bench.engine.inspect(created["Id"]) is None


async def test_a_chatty_step_is_paused_while_nobody_takes_its_lines(bench: Bench) -> None:
    plan = bench.plan("seq 1 5000", "while [ ! -e go ]; do echo more; sleep 0.05; done")
    sink = MemorySink()
    attempt = bench.start(plan, sink)
    await attempt.until_line("more")
    sink.room.clear()

    async def paused() -> bool:
        facts = await bench.facts(plan)
        return facts is not None and facts.is_paused

    await eventually(paused)
    await attempt.crash()
    assert await paused()
    sink.room.set()
    second = Attempt(plan=plan, sink=sink).start(bench.restarted())
    (plan.workspace / "go").touch()
    assert (await second.end()).exit_code == 0
    assert joined(sink)[:5000] == [str(number) for number in range(1, 5001)]


async def test_what_a_service_writes_is_rotated_and_a_steps_output_is_not(bench: Bench) -> None:
    step = bench.plan("true")
    service = bench.plan("sleep 600", kind=StepType.SERVICE)
    for plan in (step, service):
        await bench.start(plan).end()
    logs = [(await bench.inspect(plan))["HostConfig"]["LogConfig"] for plan in (step, service)]
    assert [log["Type"] for log in logs] == ["local", "local"]
    assert [log["Config"]["max-size"] for log in logs] == ["1t", "64m"]
