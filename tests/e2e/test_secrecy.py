"""Values of envs and secrets reach the steps that name them, and nothing else that is kept.

Every value carries one mark; args carry another one, which must be found wherever the first must
not, so that a search that finds nothing has looked.
"""

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.beagle import CALLS, Engine
from tests.e2e.loud import LOUD_FILE, Run, history, stored, stored_values
from tests.e2e.stack import RunningStack, wait_for
from tests.shared_fixtures import find_beagle

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def run(
    game_stack: RunningStack, platform_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """Both files, run with marked values; their instances run on, one of them unhealthy."""
    token = secrets.token_hex(6)
    run = Run(
        game_stack,
        platform_engine,
        mark=f"hush{token}",
        plain=f"plain{token}",
        root=tmp_path_factory.mktemp("wind"),
        loud=f"loud-{token}",
    )
    run.submit(LOUD_FILE, run.loud, "-o", "json", **run.values)
    text = find_beagle()
    if text is not None:
        run.beagle = f"beagle-{token}"
        platform = run.platform.prepare()
        run.submit(text, run.beagle, args=platform.args, envs=platform.envs)
    fall_ill(run)
    yield run
    for pipeline_id in run.pipelines:
        game_stack.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})


def fall_ill(run: Run) -> None:
    """The service's health check fails from now on, and prints a secret."""
    workspace = run.stack.data_dir / "agent/workspaces" / run.loud / "g1"
    (workspace / "sick").touch()
    wait_for(
        lambda: any(one["state"] == "unhealthy" for one in run.instances()),
        what="an unhealthy instance",
    )


def check(run: Run, text: str | bytes, *, plain: str = "") -> None:
    """It shows no value, but `plain` (of an arg), so that it is what was to be looked at."""
    data = text.encode() if isinstance(text, str) else text
    at = data.find(run.mark.encode())
    assert at < 0, f"a value is shown: ...{data[max(0, at - 300) : at + 100]!r}..."
    assert (plain or run.plain).encode() in data, f"nothing of it is here: {data[:500]!r}"


def test_the_values_arrive_at_the_steps(run: Run) -> None:
    workspace = run.stack.data_dir / "agent/workspaces" / run.loud / "g1"
    assert (workspace / "token").read_text() == f"{run.values['secrets']['TOKEN']}\n"
    seen = run.engine.inspect(f"gamepipe-{run.loud}-g1-s5-a1")["Config"]
    assert f"HOST={run.values['envs']['HOST']}" in seen["Env"]
    assert run.values["secrets"]["TOKEN"] in seen["Healthcheck"]["Test"][-1]


def test_the_values_arrive_at_the_game(run: Run, beagle_text: str) -> None:
    game = run.engine.inspect(f"gamepipe-{run.beagle}-g1-s2-a1")
    environment = dict(entry.split("=", 1) for entry in game["Config"]["Env"])
    envs = run.platform.envs
    assert environment["PASSWD"] == envs["BEAGLE_WIND_PASSWD"]
    for name in ("HOST", "PORT", "PROTOCOL", "USERNAME", "PASSWORD"):
        assert environment[f"SELKIES_TURN_{name}"] == envs[f"BEAGLE_WIND_TURN_{name}"]
    calls = (run.platform.root / "platforms" / CALLS).read_text()
    for name in ("S3_URL", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET"):
        assert envs[name] in calls


def test_what_steps_print_is_masked(run: Run) -> None:
    lines = run.stack.lines(run.loud, step="container")
    assert f"out *** *** {run.plain}" in lines
    assert "err *** ***" in lines
    assert run.stack.lines(run.loud, step="command")[-1].endswith(f"*** *** {run.plain}")
    steps = {step["name"]: step for step in run.stack.get(run.loud)["steps"]}
    assert steps["container"]["outputs"] == {"answer": "***"}
    assert (steps["command"]["state"], steps["command"]["exit_code"]) == ("failed", 3)
    assert "localhost:1/***:1" in steps["no such image"]["message"]
    assert steps["outside"]["reason"] == "UNSUPPORTED_FIELD"
    assert "last words ***" in steps["early end"]["message"]


def test_what_the_platform_prints_is_masked(run: Run, beagle_text: str) -> None:
    assert "mc alias set cache --api=S3v4 *** *** ***" in run.stack.lines(run.beagle, step="minio")
    assert "signing in with ***" in run.stack.lines(run.beagle, step="game")


def test_the_database_of_temporal_holds_no_value(run: Run) -> None:
    files = run.stack.data_dir.glob("temporal.db*")
    check(run, b"".join(path.read_bytes() for path in files))


def test_no_history_holds_a_value(run: Run) -> None:
    for pipeline_id in run.pipelines:
        check(run, asyncio.run(history(run.stack, f"pipeline-{pipeline_id}")))


def test_the_store_holds_values_in_one_column_only(run: Run) -> None:
    assert run.mark in " ".join(stored_values(run.stack))
    content = stored(run.stack)
    assert {"log_chunk", "event", "step", "instance", "allocation", "pipeline"} <= set(content)
    check(run, "\n".join(content.values()))
    check(run, content["log_chunk"])


def test_no_answer_of_rest_shows_a_value(run: Run) -> None:
    for pipeline_id in run.pipelines:
        path = f"/pipelines/{pipeline_id}"
        check(run, run.stack.http.get(path).text)
        check(run, run.stack.http.get(f"{path}/logs").text, plain="***")
        check(run, run.stack.http.get(f"{path}/events").text, plain=pipeline_id)
        ndjson = {"Accept": "application/x-ndjson"}
        check(run, run.stack.http.get(f"{path}/logs", headers=ndjson).text, plain="***")
        check(run, run.stack.http.get(f"{path}/placement").text, plain="local")
    for instance in run.instances():
        check(run, run.stack.http.get(f"/instances/{instance['id']}").text, plain=instance["id"])
    for path in ("/pipelines", "/instances", "/events?limit=1000"):
        check(run, run.stack.http.get(path).text, plain=run.loud)
    for path in ("/nodes", "/nodes/local"):
        check(run, run.stack.http.get(path).text, plain="local")


@pytest.mark.parametrize(
    "body",
    [
        {"envs": {"NO_SUCH": "{mark}"}},
        {"envs": {"HOST": ["{mark}"]}},
        {"secrets": "{mark}"},
        {"definition": "name: other", "secrets": {"TOKEN": "{mark}"}},
    ],
    ids=["unknown", "no text", "no names", "other content"],
)
def test_no_refusal_repeats_a_value(run: Run, body: dict[str, Any]) -> None:
    whole = {"definition": LOUD_FILE, "id": run.loud, **run.values, **body}
    marked = json.loads(json.dumps(whole).replace("{mark}", run.mark))
    answer = run.stack.http.post("/pipelines", json=marked)
    assert answer.status_code in (409, 422)
    assert run.mark not in answer.text


def test_no_command_prints_a_value(run: Run) -> None:
    for pipeline_id in run.pipelines:
        for command in ("get", "logs"):
            run.command(command, pipeline_id)
            run.command(command, pipeline_id, "-o", "json")
    for command in ("list", "nodes", "instances"):
        run.command(command)
        run.command(command, "-o", "json")
    assert "unhealthy" in run.command("instances", "--all")
    check(run, "\n".join(run.printed))


def test_no_process_writes_a_value_into_its_log(run: Run) -> None:
    logs = [run.stack.data_dir / "up.out", *(run.stack.data_dir / "log").iterdir()]
    assert {path.stem for path in logs} >= {"up", "gateway", "worker", "agent", "temporal"}
    assert run.mark not in "".join(path.read_text() for path in logs)


def test_the_agent_keeps_no_value_behind_the_steps(run: Run) -> None:
    folder = run.stack.data_dir / "agent"
    kept = [path for name in ("journal", "leases", "spool") for path in (folder / name).rglob("*")]
    data = b"".join(path.read_bytes() for path in kept if path.is_file())
    assert run.loud.encode() in data or any(run.loud in str(path) for path in kept)
    assert run.mark.encode() not in data


def test_a_deleted_pipeline_takes_its_values_along(
    game_stack: RunningStack, platform_engine: Engine
) -> None:
    run = Run(
        game_stack, platform_engine, mark="hush", plain="plain", root=Path(), loud="loud-deleted"
    )
    short = LOUD_FILE.partition("steps:")[0]
    text = f"{short}steps: [{{type: command, command: 'echo ${{{{ secrets.TOKEN }}}}'}}]"
    run.submit(text, run.loud, **run.values)
    assert len(stored_values(game_stack, run.loud)) == 3
    assert game_stack.http.delete(f"/pipelines/{run.loud}").status_code == 204
    assert stored_values(game_stack, run.loud) == []
