"""What a right file becomes."""

import json

import pytest

from gamepipe.definition import parse_pipeline
from gamepipe.definition.codec import decode_spec, encode_spec
from gamepipe.model.errors import InvalidPipeline
from gamepipe.model.spec import (
    Container,
    Device,
    GpuRequest,
    Healthcheck,
    Match,
    OnNodeLost,
    Parameter,
    PipelineSpec,
    Port,
    PullPolicy,
    Resources,
    Retry,
    StepType,
    Timeouts,
    Volume,
    Wish,
)
from tests.definition.conftest import EXAMPLES, found


def container(fields: str) -> Container:
    spec = parse_pipeline(f"name: x\nsteps:\n  - container: {{image: a, {fields}}}\n")
    read = spec.steps[0].container
    assert read is not None
    return read


def commands(*steps: str, head: str = "") -> PipelineSpec:
    lines = "\n".join(f"  - {{type: command, command: 'true', {step}}}" for step in steps)
    return parse_pipeline(f"name: x\n{head}\nsteps:\n{lines}\n")


def test_every_top_level_key_arrives() -> None:
    spec = parse_pipeline("""
name: Everything
description: all keys
id: pipe-1.a_b
model: platform-start
tenant: blue
priority: -5
labels: {kind: game, build: 7, final: true}
envs: [A, B: 5, C: ""]
args: {D: , E: true}
secrets:
  - F
resources:
  cpu: 2.5
  memory: 4GiB
  disk: 1.5TiB
  gpu: {vram: 512MiB, encoders: 2, share: 0.5, model: RTX}
placement:
  node: n1
  region: eu
  zone: eu-1
  match: [{key: disk, op: in, values: [ssd]}, {key: cores, op: ">", values: 8}]
  forbid: [{key: old, op: exists}]
  prefer:
    - {key: rank, op: ">", values: 3}
    - {key: disk, op: exists, weight: 0.5}
  spread: {over: zone, by: tenant, most: 4}
  player_region: se
  max_latency_ms: 30
  preemptible: true
timeouts: {pipeline: 1h30m, queue: 90, step: 500ms, grace: 0}
on_node_lost: reschedule
steps:
  - {type: command, command: "true"}
""")
    assert (spec.name, spec.description, spec.id) == ("Everything", "all keys", "pipe-1.a_b")
    assert (spec.model, spec.tenant, spec.priority) == ("platform-start", "blue", -5)
    assert spec.labels == {"kind": "game", "build": "7", "final": "true"}
    assert spec.envs == (
        Parameter(name="A"),
        Parameter(name="B", default="5", has_default=True),
        Parameter(name="C", default="", has_default=True),
    )
    assert spec.args == (
        Parameter(name="D"),
        Parameter(name="E", default="true", has_default=True),
    )
    assert spec.secrets == (Parameter(name="F"),)
    assert spec.resources == Resources(
        cpu=2.5,
        memory_bytes=4 << 30,
        disk_bytes=3 << 39,
        gpu=GpuRequest(vram_bytes=512 << 20, encoders=2, share=0.5, models=("RTX",)),
    )
    assert spec.placement.match == (
        Match(key="disk", op="in", values=("ssd",)),
        Match(key="cores", op=">", values=("8",)),
    )
    assert spec.placement.forbid == (Match(key="old", op="exists"),)
    assert spec.placement.prefer == (
        Wish(match=Match(key="rank", op=">", values=("3",))),
        Wish(match=Match(key="disk", op="exists"), weight=0.5),
    )
    assert _spread(spec) == ("zone", "tenant", 4)
    assert (spec.placement.max_latency_ms, spec.placement.preemptible) == (30, True)
    assert spec.timeouts == Timeouts(
        pipeline_seconds=5400, queue_seconds=90, step_seconds=0.5, grace_seconds=0
    )
    assert spec.on_node_lost is OnNodeLost.RESCHEDULE


def _spread(spec: PipelineSpec) -> tuple[str, str, int | None]:
    wanted = spec.placement
    return wanted.spread, wanted.spread_by, wanted.spread_most


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("zone", ("zone", "template", None)),
        ("{over: rack}", ("rack", "template", None)),
        ("{over: node, by: template, most: 1}", ("node", "template", 1)),
    ],
)
def test_spread_is_a_name_or_a_mapping(written: str, read: tuple[str, str, int | None]) -> None:
    text = f"name: x\nplacement: {{spread: {written}}}\nsteps: [{{type: command, command: a}}]"
    assert _spread(parse_pipeline(text)) == read


def test_every_key_of_a_step_arrives() -> None:
    spec = parse_pipeline("""
name: x
steps:
  - name: première
    type: command
    command: [echo a, echo b]
    environment: [A=1, B=x=y]
  - name: zweite
    type: command
    command: |
      echo c
    needs: première
    if: ${{ steps.première.state == 'completed' }}
    continue_on_error: true
    timeout: 2m
    retry: {max_attempts: 100, initial: 0.5, factor: 1.5, max: 10s}
    outputs: [url, size_1]
  - {type: command, command: "true", always: true}
""")
    first, second, third = spec.steps
    assert (first.type, first.command) == (StepType.COMMAND, "echo a\necho b")
    assert first.environment == {"A": "1", "B": "x=y"}
    assert (second.command, second.needs) == ("echo c\n", ("première",))
    assert second.condition == "steps.première.state == 'completed'"
    assert (second.continue_on_error, second.timeout_seconds) == (True, 120)
    assert second.retry == Retry(max_attempts=100, initial_seconds=0.5, factor=1.5, max_seconds=10)
    assert second.outputs == ("url", "size_1")
    assert (third.index, third.name, third.always) == (2, "step-3", True)


def test_a_first_wait_above_the_default_ceiling_is_kept() -> None:
    (step,) = commands("retry: {max_attempts: 2, initial: 2m}").steps
    assert step.retry.delay_seconds(1) == 120


def test_a_step_without_needs_follows_the_one_above() -> None:
    spec = commands("name: a", "name: b", "name: c, needs: []", "name: d, needs: [a, c]")
    assert [step.needs for step in spec.steps] == [(), ("a",), (), ("a", "c")]


def test_a_number_may_name_a_step() -> None:
    spec = commands("name: 1", "name: two, needs: [1]")
    assert [(step.name, step.needs) for step in spec.steps] == [("1", ()), ("two", ("1",))]


def test_every_field_of_a_container_arrives() -> None:
    read = container("""
        pull: always, entrypoint: [/bin/app, "-v"], command: "run 'two words' ${{ pipeline.id }}",
        environment: {A: 1, B: 1.50, C: true, D: x},
        volumes: ["/a:/b:ro", "data:/c", {source: ./d, target: /e, read_only: true}],
        ports: ["80", 81, "8080:80/udp", "127.0.0.1:8081:81", "[::1]:8082:82",
                {target: 90, published: "9090", host_ip: 10.0.0.1, protocol: sctp}],
        devices: [/dev/dri, "/dev/a:/dev/b:r", {source: /dev/c, permissions: rw}],
        tmpfs: "/run:size=64m", cap_add: [SYS_NICE], cap_drop: [ALL],
        security_opt: ["seccomp=unconfined"], privileged: true, hostname: game-1, user: 1000,
        working_dir: /srv,
        healthcheck: {test: curl -f x, interval: 1s, timeout: 2s, start_period: 0s, retries: 3},
        deploy: {resources: {limits: {cpus: "1.5", memory: 512m}, reservations: {devices: [
          {capabilities: [npu], driver: cdi, device_ids: [0, 1], options: {virtual: false}}]}}}
    """)
    assert (read.pull, read.entrypoint) == (PullPolicy.ALWAYS, ("/bin/app", "-v"))
    assert read.command == ("run", "two words", "${{ pipeline.id }}")
    assert read.environment == {"A": "1", "B": "1.50", "C": "true", "D": "x"}
    assert read.volumes == (
        Volume(source="/a", target="/b", read_only=True),
        Volume(source="data", target="/c"),
        Volume(source="./d", target="/e", read_only=True),
    )
    assert read.ports == (
        Port(container="80"),
        Port(container="81"),
        Port(container="80", host="8080", protocol="udp"),
        Port(container="81", host="8081", host_ip="127.0.0.1"),
        Port(container="82", host="8082", host_ip="::1"),
        Port(container="90", host="9090", host_ip="10.0.0.1", protocol="sctp"),
    )
    assert read.devices == (
        Device(source="/dev/dri", target="/dev/dri"),
        Device(source="/dev/a", target="/dev/b", permissions="r"),
        Device(source="/dev/c", target="/dev/c", permissions="rw"),
    )
    assert (read.tmpfs, read.cap_add, read.cap_drop) == (
        ("/run:size=64m",),
        ("SYS_NICE",),
        ("ALL",),
    )
    assert (read.privileged, read.hostname, read.user) == (True, "game-1", "1000")
    assert (read.working_dir, read.security_opt) == ("/srv", ("seccomp=unconfined",))
    assert read.healthcheck == Healthcheck(
        test=("CMD-SHELL", "curl -f x"),
        interval_seconds=1,
        timeout_seconds=2,
        start_period_seconds=0,
        retries=3,
    )
    assert (read.cpu_limit, read.memory_limit_bytes) == (1.5, 512 << 20)
    (request,) = read.device_requests
    assert (request.device_ids, request.options) == (("0", "1"), {"virtual": "false"})


def test_a_healthcheck_may_be_switched_off() -> None:
    assert container("healthcheck: {disable: true}").healthcheck == Healthcheck(test=("NONE",))


def test_aliases_merges_and_extensions_work() -> None:
    spec = parse_pipeline("""
x-base: &base {image: base, user: 1}
name: x
steps:
  - {container: *base}
  - container: {<<: *base, user: 2}
""")
    users = [step.container.user for step in spec.steps if step.container]
    images = {step.container.image for step in spec.steps if step.container}
    assert (users, images) == (["1", "2"], {"base"})


def test_json_is_read_like_yaml() -> None:
    document = {
        "name": "ünïcode 😀",
        "args": [{"WHO": "world"}],
        "steps": [{"type": "command", "command": "echo a\\/b\t'${{ args.WHO }}'\n\u2028"}],
    }
    compact = parse_pipeline(json.dumps(document))
    assert compact.name == "ünïcode 😀"
    assert compact.steps[0].command == document["steps"][0]["command"]  # type: ignore[index]
    assert parse_pipeline(json.dumps(document, indent="\t")) == compact
    assert parse_pipeline(json.dumps(document, ensure_ascii=False).encode()) == compact


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter() -> None:
    text = "name: x\nsteps:\n  - {type: command, command: a}\n"
    windows = text.replace("\n", "\r\n")
    assert parse_pipeline(b"\xef\xbb\xbf" + windows.encode()) == parse_pipeline(text)
    assert parse_pipeline("\ufeff" + text) == parse_pipeline(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load_and_survive_the_codec(path) -> None:  # type: ignore[no-untyped-def]
    spec = parse_pipeline(path.read_bytes(), file=path.name)
    assert decode_spec(json.loads(json.dumps(encode_spec(spec)))) == spec


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {"quickstart", "graph", "game-service"}


def test_five_hundred_steps_are_read_and_one_more_is_refused() -> None:
    assert len(commands(*[f"name: s{n}" for n in range(500)]).steps) == 500
    with pytest.raises(InvalidPipeline) as caught:
        commands(*[f"name: s{n}" for n in range(501)])
    assert found(caught.value) == [(4, 3, "steps")]
