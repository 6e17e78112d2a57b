"""A container step from its start to its end."""

from datetime import UTC, datetime

import pytest

from gamepipe.agent.container_engine import connect_docker
from gamepipe.agent.container_facts import ContainerFacts
from gamepipe.model import reason as reasons
from gamepipe.model.record import LogStream
from gamepipe.model.spec import Port, PullPolicy, StepType
from tests.agent.container.conftest import Attempt, Bench, MemorySink, next_attempt
from tests.docker_fixtures import import_image

pytestmark = pytest.mark.docker


def test_none_ends_before_it_began() -> None:
    """Docker notes the start of one that ends at once after its end."""
    state = {"Running": False, "ExitCode": 0}
    times = {
        "StartedAt": "2026-01-01T00:00:00.594370000Z",
        "FinishedAt": "2026-01-01T00:00:00.593840000Z",
    }
    answer = {"Id": "1", "Name": "/one", "State": state | times, "Config": {}}
    facts = ContainerFacts.from_inspect(answer)
    assert facts.started_at == facts.ended_at == datetime(2026, 1, 1, 0, 0, 0, 594370, tzinfo=UTC)


async def test_commands_run_as_one_script_in_the_workspace(bench: Bench) -> None:
    before = datetime.now(UTC)
    leave, attempt = await bench.run(
        "NAME=game", "pwd", 'echo "$NAME" > file', "cat file", "echo oops >&2"
    )
    assert (leave.exit_code, leave.reason) == (0, "")
    assert attempt.sink.texts() == ["/workspace", "game"]
    assert attempt.sink.texts(LogStream.STDERR) == ["oops"]
    assert (attempt.plan.workspace / "file").read_text() == "game\n"
    assert attempt.running_since == [leave.started_at]
    assert leave.started_at is not None
    assert before <= leave.started_at <= leave.ended_at


async def test_the_first_failing_line_ends_the_step(bench: Bench) -> None:
    leave, attempt = await bench.run("echo one", "(exit 7)", "echo two")
    assert (leave.exit_code, leave.reason, leave.message) == (7, reasons.EXIT_CODE, "exit code 7")
    assert attempt.sink.texts() == ["one"]


async def test_outputs_are_written_to_the_file_inside(bench: Bench) -> None:
    leave, attempt = await bench.run(
        'echo "$GAMEPIPE_OUTPUT $GAMEPIPE_WORKSPACE"', 'echo A=1 >> "$GAMEPIPE_OUTPUT"', user="1000"
    )
    assert leave.exit_code == 0, attempt.sink.lines
    assert attempt.sink.texts() == ["/gamepipe/output /workspace"]
    assert attempt.plan.output_file.read_text() == "A=1\n"


async def test_steps_of_one_pipeline_share_the_workspace(bench: Bench) -> None:
    first = bench.plan("echo shared > /workspace/file")
    await bench.start(first).end()
    second = bench.start(bench.plan("cat file", key=next_attempt(first).key))
    assert (await second.end()).exit_code == 0
    assert second.sink.texts() == ["shared"]


async def test_the_images_own_program_runs_in_its_own_folder(bench: Bench) -> None:
    name = "gamepipe-test/own-program:1"
    changes = ('ENTRYPOINT ["/bin/own", "first"]', 'CMD ["default"]', "WORKDIR /srv")
    await import_image(
        bench.docker, name, files={"/bin/own": '#!/bin/sh\necho "$PWD $@"\n'}, changes=changes
    )
    _, plain = await bench.run(image=name)
    _, argued = await bench.run(image=name, command=("second",), working_dir="/tmp")
    _, replaced = await bench.run(image=name, entrypoint=("echo",), command=("third",))
    assert plain.sink.texts() == ["/srv first default"]
    assert argued.sink.texts() == ["/tmp first second"]
    assert replaced.sink.texts() == ["third"]


async def test_a_missing_image_names_the_image_and_the_remedy(bench: Bench) -> None:
    leave, attempt = await bench.run("true", image="localhost:1/none/such:7")
    assert leave.reason == reasons.IMAGE_PULL_FAILED
    assert "localhost:1/none/such:7" in leave.message
    assert "docker load" in leave.message
    assert leave.started_at is None
    assert attempt.sink.texts(LogStream.SYSTEM) == ["pulling image localhost:1/none/such:7"]
    assert attempt.progress == ["pulling image localhost:1/none/such:7"]


async def test_never_pull_refuses_a_missing_image(bench: Bench) -> None:
    leave, attempt = await bench.run("true", image="none/such:7", pull=PullPolicy.NEVER)
    assert leave.reason == reasons.IMAGE_PULL_FAILED
    assert "pull: never" in leave.message
    assert attempt.progress == []


async def test_a_local_image_is_pulled_only_when_told_to(bench: Bench) -> None:
    leave, attempt = await bench.run("true")
    assert leave.exit_code == 0
    assert attempt.progress == []
    name = "localhost:1/local/image:1"
    await import_image(bench.docker, name)
    assert (await bench.run("true", image=name))[0].exit_code == 0
    leave, _ = await bench.run("true", image=name, pull=PullPolicy.ALWAYS)
    assert leave.reason == reasons.IMAGE_PULL_FAILED


async def test_a_taken_port_is_named(bench: Bench) -> None:
    holder = bench.plan("sleep 600", kind=StepType.SERVICE, ports=(Port(container="80"),))
    up = await bench.start(holder).end()
    port = up.ports["80/tcp"].rpartition(":")[2]
    wanted = (Port(container="80", host=port),)
    leave, attempt = await bench.run("true", ports=wanted)
    assert leave.reason == reasons.PORT_TAKEN
    assert f"port {port}" in leave.message
    assert leave.retryable
    assert await bench.facts(attempt.plan) is None


async def test_a_program_that_is_not_there_is_refused(bench: Bench) -> None:
    leave, attempt = await bench.run(entrypoint=("/no/such/program",))
    assert leave.reason == reasons.CONTAINER_REFUSED
    assert "/no/such/program" in leave.message
    assert await bench.facts(attempt.plan) is None


async def test_an_engine_that_does_not_run_is_named_with_the_remedy(bench: Bench) -> None:
    docker = connect_docker(f"unix://{bench.folder}/no.sock")
    try:
        attempt = Attempt(plan=bench.plan("true"), sink=MemorySink())
        leave = await attempt.start(bench.restarted(docker)).end()
    finally:
        await docker.close()
    assert leave.reason == reasons.RUNTIME_UNAVAILABLE
    assert "--docker-url" in leave.message
    assert leave.retryable


async def test_memory_beyond_the_limit_is_named(bench: Bench) -> None:
    leave, _ = await bench.run(
        "x=$(head -c 200m /dev/zero | tr '\\0' x)", memory_limit_bytes=32 << 20
    )
    assert leave.exit_code == 137
    assert leave.reason == reasons.EXIT_CODE
    assert "memory" in leave.message
