"""Parser and JSON Schema judge documents alike, as far as a schema can say what is right.

Every key is given values that are right and others that are wrong, alone and beside each other.
Left out is what `pipeline_schema` says that a schema cannot tell.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gamepipe.definition import parse_pipeline, pipeline_schema
from gamepipe.model.errors import InvalidPipeline

VALIDATOR = Draft202012Validator(pipeline_schema())
Table = Mapping[str, Sequence[Any]]

ODD: list[Any] = [None, True, "", "  ", 7, -1, 1.5, [], {}, [[]], [None], {"a": None}]
"""For every key: most of it is wrong in most places."""
HOLE = "${{ pipeline.id }}"
TEXT: list[Any] = ["a", "two words", "ü", HOLE]
SECONDS: list[Any] = ["90s", "1h30m", "0.5", 90, 0, "0s", "0", "5x", "s", " 5s", 1e9, HOLE]
SIZES: list[Any] = ["4GiB", "512 MiB", " 1KiB ", "1.5TiB", 4096, 0, 4.5, "4GB", "4gib", "x", 2**61]
PORTS: list[Any] = [80, "80", "00080", 0, 65535, 65536, 70000, "65536", "x", HOLE, True]

DEVICES: Table = {
    "capabilities": [["gpu"], ["compute"], ["npu"], ["npu", "gpu"], ["video", "utility"], [""]],
    "driver": ["nvidia", "amd", "cdi", "other"],
    "count": [1, 64, 65, 0, "all", "some", "1"],
    "device_ids": [["0"], [0, 1], ["nvidia.com/gpu=0"], ["acme.com/nic=1"], "0"],
    "options": [{"a": "b"}, {"a": 1}, {"": "x"}],
}
HEALTH: Table = {
    "test": [
        *("curl x", ["CMD", "a"], ["CMD"], ["CMD-SHELL", "a"], ["CMD-SHELL", "a", "b"], ["NONE"]),
        *(["NONE", "a"], ["a", "b"], ["CMD", 1], [HOLE, "a"]),
    ],
    "interval": SECONDS,
    "start_period": SECONDS,
    "retries": [1, 1000, 1001, 0, "3"],
    "disable": [True, False, "true"],
    "start_interval": ["1s"],
}
VOLUME: Table = {
    "type": ["bind", "volume", "tmpfs", "x"],
    "source": ["/a", "./a", "name", "-a", "a/b", HOLE],
    "target": ["/a", "a", HOLE],
    "read_only": [True, False, "no"],
    "bind": [{}],
}
PORT: Table = {
    "target": PORTS,
    "published": PORTS,
    "host_ip": ["127.0.0.1", "::1", "[::1]", "256.0.0.1", "01.2.3.4", "x", HOLE],
    "protocol": ["tcp", "udp", "sctp", "icmp"],
}
DEVICE: Table = {
    "source": ["/dev/a", "dev", HOLE],
    "target": ["/dev/a", "dev"],
    "permissions": ["rwm", "r", "x", "rwmr", HOLE],
}
LIMITS: Table = {
    "cpus": [1, 0.5, "1.5", "1_0", " 2 ", "0", 0, -1, "x", "1e1", ".5", 5000],
    "memory": [*SIZES, "512m", "8g", "1kb", "1t"],
    "pids": [1],
}
CONTAINER: Table = {
    "image": ["a", "a b", HOLE, "a" + HOLE],
    "commands": [["a"], "a", [1, True], [""], [{}]],
    "command": ["a b", ["a", 1], ["", ""]],
    "entrypoint": ["a", ["a"]],
    "environment": [
        *({"A": 1}, {"A": ""}, {"1A": "x"}, {"A B": "x"}, {HOLE: "x"}, {"A": HOLE}, {"A": []}),
        *(["A=1"], ["A="], ["A"], ["1A=x"], [f"A={HOLE}"], [f"{HOLE}=a"], [1], "A=1"),
    ],
    "volumes": [
        *(["/a:/b"], ["/a:/b:ro"], ["/a:/b:rw"], ["/a:/b:z"], ["/a"], ["a:b"], ["-a:/b"], [":/b"]),
        *(["n.a-b_c:/b"], ["./a:/b"], ["/a:/b:/c"], ["/a:/b:ro:x"], [f"{HOLE}:/b"], "/a:/b", [5]),
    ],
    "ports": [
        *([value] for value in PORTS),
        *(["8080:80"], ["70000:1"], ["1:70000"], ["1:80/udp"], ["80/tcp"], ["80/icmp"], ["80/TCP"]),
        *(["127.0.0.1:1:80"], ["127.0.0.1::80"], ["127.0.0.1:80"], ["[::1]:1:80"], ["::1:1:80"]),
        *([":80"], ["::80"], [":1:80"], ["1-2:3-4"], ["a:80"], ["256.1.1.1:1:80"], ["80/"], "80"),
        *([f"{HOLE}:80"], [f"127.0.0.1:{HOLE}:80/udp"], ["[1.2.3.4]:1:80"], ["1:1:1:80"], [80.5]),
    ],
    "devices": [
        *(["/a"], ["/a:/b"], ["/a:rw"], ["/a:/b:r"], ["/a:/b:x"], ["/a:b"], ["a"], ["/a:"]),
        *(["/a::rw"], ["/a:/b:rwm:r"], [HOLE], [5], "/a"),
    ],
    "tmpfs": ["/x", "/x:size=1m", "a", ["/x", "/y"], ["a"], [HOLE]],
    "cap_add": [["A"], [HOLE], "A"],
    "security_opt": [["seccomp=unconfined"], [1]],
    "privileged": [True, False, "true"],
    "hostname": ["game-1", "a.b", "-a", "a_b", "a-", "a" * 64, HOLE],
    "user": ["a:b", 1000, HOLE],
    "working_dir": ["/a", "a", HOLE],
    "pull": ["always", "never", "sometimes"],
    "restart": ["always"],
}
GPU: Table = {
    "count": [0, 1, 64, 65, "all", "x"],
    "vram": SIZES,
    "encoders": [1, 1000, 0, 1001],
    "share": [0.5, 1, 0, 1.5],
    "model": ["RTX", ["RTX", "L4"], 4090],
}
MATCH: Table = {
    "key": ["disk", 5],
    "op": ["in", "not in", "exists", "not exists", ">", "<", "is"],
    "values": ["a", ["a"], 8, ["8"], ["1", "2"], ["x"], ["-1.5e3"], [" 8 "], ["1_0"]],
}
WISH: Table = MATCH | {"weight": [1, 0.5, 1000, 0, -1, 1001, "1"]}
SPREAD: Table = {
    "over": ["zone", 5, "a\nb"],
    "by": ["tenant", "template", "user"],
    "most": [1, 5, 0, 1.5, 1_000_001, "2"],
    "mots": [1],
}
RETRY: Table = {
    "max_attempts": [1, 100, 101, 0, "3"],
    "factor": [1, 2.5, 100, 0.5, "2"],
    "max": ["1m", 366 * 86400 + 1],
}
STEP: Table = {
    "name": ["a", 1, "a\nb", "a" * 200, "a" * 201],
    "type": ["container", "service", "command", "comand"],
    "container": [{"image": "a"}, {}],
    "command": ["a", ["a", 1], [], HOLE],
    "environment": [{"A": "b"}, ["A=b"]],
    "if": ["always()", "failure()", "failure()", False, 1, -1, "  "],
    "always": [True, False, "yes"],
    "continue_on_error": [True, "no"],
    "timeout": SECONDS,
    "outputs": [["a"], ["a", "b"], ["a", "a"], ["1a"], ["GAMEPIPE_PROGRESS"], "a"],
    "neds": ["a"],
}
TIMEOUTS: Table = dict.fromkeys(("pipeline", "queue", "step", "grace", "other"), SECONDS)
DOCUMENT: Table = {
    "name": ["x", 5, "a\nb", "a" * 201],
    "description": ["", "a\nb", "a" * 10_001],
    "id": ["a", "-a", "a" * 64, 5, -5, "a b", HOLE],
    "model": TEXT,
    "tenant": ["a", "a b", 5],
    "priority": [0, -1000, 1001, 1.5, "1"],
    "labels": [{"a": 1}, {"a b": 1}, {"a": "x" * 1001}, {"a" * 129: "x"}, {"-": ""}, {"a": []}],
    "args": [["A"], ["A", {"B": 1}], {"A": "x", "B": None}, ["A=1"], ["1a"], [5], {"A": []}, "A"],
    "envs": [["A"], [{"A": HOLE}], {"a" * 129: 1}],
    "on_node_lost": ["fail", "wait", "retry"],
    "steps": [[{"type": "command", "command": "a"}], [5]],
    "x-mine": [5],
    "stepz": [[]],
}
REFUSED_BY_BOTH = [
    {"type": "command", "command": "a", "container": {"image": "a"}},
    {"container": {"image": "a", "healthcheck": {"interval": "1s"}}},
    {"container": {"image": "a", "ports": ["70000:1"]}},
    {
        "container": {
            "image": "a",
            "deploy": {
                "resources": {
                    "reservations": {
                        "devices": [{"capabilities": ["npu"], "count": 1, "device_ids": ["0"]}]
                    }
                }
            },
        }
    },
]


def record(table: Table, *always: str) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with some of the keys, and mostly with those of `always`."""

    def of(key: str) -> st.SearchStrategy[Any]:
        return st.sampled_from([*table[key]] * 6 + ODD)

    keys = st.lists(st.sampled_from(sorted(table)), max_size=3, unique=True)
    kept = st.just(list(always)) | st.just([])
    return st.tuples(keys, kept).flatmap(
        lambda chosen: st.fixed_dictionaries(
            {key: of(key) for key in dict.fromkeys(chain(*chosen))}
        )
    )


def inside(strategy: st.SearchStrategy[Any], *path: str) -> st.SearchStrategy[Any]:
    """The value at a path of keys; `[]` in it is a list of one."""
    for key in reversed(path):
        strategy = strategy.map(lambda value, key=key: [value] if key == "[]" else {key: value})
    return strategy


def a_step(container: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return container.map(
        lambda value: {"name": "x", "steps": [{"container": {"image": "a", **value}}]}
    )


PLAIN: dict[str, Any] = {"name": "x", "steps": [{"type": "command", "command": "a"}]}
RESERVED = ("deploy", "resources", "reservations", "devices", "[]")
DOCUMENTS = {
    "document": record(DOCUMENT, "name", "steps"),
    "step": inside(record(STEP, "type", "command"), "steps", "[]").map(
        lambda v: {"name": "x", **v}
    ),
    "retry": record(RETRY).map(
        lambda value: {"name": "x", "steps": [{**PLAIN["steps"][0], "retry": value}]}
    ),
    "container": a_step(record(CONTAINER)),
    "device request": a_step(inside(record(DEVICES, "capabilities"), *RESERVED)),
    "limits": a_step(inside(record(LIMITS), "deploy", "resources", "limits")),
    "health check": a_step(inside(record(HEALTH, "test"), "healthcheck")),
    "volume": a_step(inside(record(VOLUME, "source", "target"), "volumes", "[]")),
    "port": a_step(inside(record(PORT, "target"), "ports", "[]")),
    "device": a_step(inside(record(DEVICE, "source"), "devices", "[]")),
    "gpu": inside(record(GPU), "resources", "gpu").map(lambda value: {**PLAIN, **value}),
    "resources": inside(
        record({"cpu": [1, 0.5, -1, "1"], "memory": SIZES, "disk": SIZES, "gpu": [1, "all", "x"]}),
        "resources",
    ).map(lambda value: {**PLAIN, **value}),
    "match": inside(record(MATCH, "key", "op"), "placement", "match", "[]").map(
        lambda value: {**PLAIN, **value}
    ),
    "wish": inside(record(WISH, "key", "op"), "placement", "prefer", "[]").map(
        lambda value: {**PLAIN, **value}
    ),
    "spread": inside(
        st.one_of(record(SPREAD, "over"), st.sampled_from(["zone", 5, True, "", "a\nb", ["a"]])),
        "placement",
        "spread",
    ).map(lambda value: {**PLAIN, **value}),
    "timeouts": inside(record(TIMEOUTS), "timeouts").map(lambda value: {**PLAIN, **value}),
}


def problems(document: Any) -> list[str]:
    """What the parser says is wrong."""
    try:
        parse_pipeline(json.dumps(document))
    except InvalidPipeline as error:
        return [str(mistake) for mistake in error.mistakes]
    return []


@pytest.mark.parametrize("kind", sorted(DOCUMENTS))
def test_parser_and_schema_judge_alike(kind: str) -> None:
    @settings(max_examples=250, deadline=None, derandomize=True)
    @given(DOCUMENTS[kind])
    def judged_alike(document: Any) -> None:
        said = problems(document)
        found = [error.message for error in VALIDATOR.iter_errors(document)]
        assert bool(said) == bool(found), f"parser: {said}\nschema: {found}"

    judged_alike()


@pytest.mark.parametrize("step", REFUSED_BY_BOTH)
def test_what_goes_wrong_between_keys_is_refused_by_both(step: dict[str, Any]) -> None:
    document = {"name": "x", "steps": [step]}
    assert problems(document)
    assert not VALIDATOR.is_valid(document)
