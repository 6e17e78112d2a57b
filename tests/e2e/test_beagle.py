"""The Beagle Wind file, unchanged, on a real Docker engine: from its tarball to a running game."""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.beagle import CALLS, GAME, NO_GPU_FACTS, PAGE, PLATFORM, Engine, Platform
from tests.e2e.fleet import Fleet
from tests.e2e.stack import RunningStack, wait_for

pytestmark = pytest.mark.docker


@dataclass(frozen=True)
class Game:
    """A pipeline of the file that has completed; its game runs."""

    stack: RunningStack
    engine: Engine
    platform: Platform
    record: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def container(self) -> str:
        return f"gamepipe-{self.id}-g1-s2-a1"

    def instance(self) -> dict[str, Any]:
        listed = self.stack.run("instances", "--all", "-o", "json").stdout
        return next(one for one in json.loads(listed) if one["pipeline_id"] == self.id)

    def stop(self) -> None:
        answer = self.stack.run("stop", self.instance()["id"])
        assert answer.returncode == 0, answer.stderr
        wait_for(lambda: self.instance()["state"] == "stopped", what="the game to be stopped")


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    name = f"game-{secrets.token_hex(3)}"
    return Platform(root=tmp_path / "wind", instance=name).prepare()


@pytest.fixture
def game(
    game_stack: RunningStack, platform_engine: Engine, beagle_text: str, platform: Platform
) -> Iterator[Game]:
    pipeline_id = submit(game_stack, beagle_text, platform)
    try:
        record = game_stack.finish(pipeline_id)
        assert record["state"] == "completed", record
        yield Game(game_stack, platform_engine, platform, record)
    finally:
        game_stack.http.delete(f"/pipelines/{pipeline_id}", params={"force": True})


def submit(stack: RunningStack, text: str, platform: Platform) -> str:
    return stack.submit(text, args=platform.args, envs=platform.envs)


def test_it_fetches_and_unpacks_the_platform_and_leaves_the_game_running(game: Game) -> None:
    assert [step["state"] for step in game.record["steps"]] == ["completed"] * 3
    fetched = game.platform.root / "platforms"
    assert (fetched / f"{PLATFORM}.tar.gz").is_file()
    envs = game.platform.envs
    assert (fetched / CALLS).read_text().splitlines() == [
        f"alias set cache --api=S3v4 {envs['S3_URL']} {envs['S3_ACCESS_KEY']} "
        f"{envs['S3_SECRET_KEY']}",
        f"cp cache/{envs['S3_BUCKET']}/platforms/{PLATFORM}.tar.gz "
        f"/data/wind/platforms/{PLATFORM}.tar.gz",
    ]
    assert (game.platform.volumes / "system/index.html").read_text() == PAGE
    assert "system/index.html" in game.stack.lines(game.id, step="tgz")
    assert httpx.get(f"http://127.0.0.1:{game.platform.port}").text == PAGE
    instance = game.instance()
    assert (instance["state"], instance["image"]) == ("running", GAME)
    assert instance["container_name"] == game.container
    assert instance["ports"] == {"8080/tcp": f"0.0.0.0:{game.platform.port}"}
    assert instance["id"] in game.stack.run("instances").stdout


def test_all_that_the_file_asks_for_arrives_at_the_engine(game: Game) -> None:
    seen = game.engine.inspect(game.container)
    assert seen["State"]["Running"]
    check_host(seen["HostConfig"], game.platform)
    check_config(seen["Config"], game)


def check_host(host: dict[str, Any], platform: Platform) -> None:
    (request,) = host["DeviceRequests"]
    assert (request["Capabilities"], request["DeviceIDs"]) == ([["gpu"]], ["0"])
    assert host["Privileged"] is True
    assert host["CapAdd"] == ["SYS_RAWIO"]
    assert "seccomp=unconfined" in host["SecurityOpt"]
    assert host["Tmpfs"] == {"/dev/shm": "rw"}
    assert host["Devices"] == [
        {"PathOnHost": "/dev/dri", "PathInContainer": "/dev/dri", "CgroupPermissions": "rwm"}
    ]
    assert {
        "/dev/input:/dev/input:rw",
        "/data/nvidia:/data/nvidia:rw",
        f"{platform.volumes}/system:/home/ubuntu:rw",
    } < set(host["Binds"])
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "", "HostPort": str(platform.port)}]}


def check_config(config: dict[str, Any], game: Game) -> None:
    platform, envs = game.platform, game.platform.envs
    assert config["Image"] == GAME
    assert config["Hostname"] == platform.args["HOSTNAME"]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    inside = {name for name in environment if name.startswith("GAMEPIPE_")}
    assert inside >= {"GAMEPIPE_PIPELINE_ID", "GAMEPIPE_WORKSPACE", "GAMEPIPE_OUTPUT"}
    assert {name: environment[name] for name in environment.keys() - inside - {"PATH"}} == {
        "TZ": "Asia/Shanghai",
        "DISPLAY_SIZEW": "1920",
        "DISPLAY_SIZEH": "1080",
        "DISPLAY_REFRESH": "60",
        "DISPLAY_DPI": "96",
        "DISPLAY_CDEPTH": "24",
        "SELKIES_ENCODER": "nvh264enc",
        "SELKIES_VIDEO_BITRATE": "1000",
        "SELKIES_FRAMERATE": "30",
        "SELKIES_AUDIO_BITRATE": "24000",
        "SELKIES_ENABLE_RESIZE": "false",
        "BEAGLE_ENABLE_DEBUG": "true",
        "PASSWD": envs["BEAGLE_WIND_PASSWD"],
        "SELKIES_BASIC_AUTH_PASSWORD": envs["BEAGLE_WIND_PASSWD"],
        "SELKIES_ENABLE_HTTPS": "false",
        "SELKIES_TURN_HOST": envs["BEAGLE_WIND_TURN_HOST"],
        "SELKIES_TURN_PORT": envs["BEAGLE_WIND_TURN_PORT"],
        "SELKIES_TURN_PROTOCOL": envs["BEAGLE_WIND_TURN_PROTOCOL"],
        "SELKIES_TURN_USERNAME": envs["BEAGLE_WIND_TURN_USERNAME"],
        "SELKIES_TURN_PASSWORD": envs["BEAGLE_WIND_TURN_PASSWORD"],
    }
    assert config["Labels"] == {
        "gamepipe.pipeline": game.id,
        "gamepipe.generation": "1",
        "gamepipe.step": "2",
        "gamepipe.attempt": "1",
        "gamepipe.node": "local",
        "gamepipe.type": "service",
    }


def files_of(stack: RunningStack, pipeline_id: str) -> list[Path]:
    """Workspace, private files of attempts and spooled lines."""
    folders = [stack.data_dir / "agent" / name for name in ("workspaces", "attempts", "spool")]
    return [path for folder in folders for path in folder.glob(pipeline_id)]


def generation(stack: RunningStack, pipeline_id: str) -> dict[str, Any]:
    answer = stack.http.get(f"/pipelines/{pipeline_id}/placement").json()
    return dict(answer["generations"][0])


def test_a_stopped_game_leaves_nothing_behind(game: Game) -> None:
    stack, engine = game.stack, game.engine
    volumes = engine.volumes()
    assert game.container in engine.containers(game.id)
    assert files_of(stack, game.id)
    assert generation(stack, game.id)["released_at"] is None
    game.stop()
    wait_for(lambda: not engine.containers(game.id), what="its containers to be removed")
    wait_for(lambda: not files_of(stack, game.id), what="its workspace to be removed")
    assert engine.volumes() <= volumes
    assert generation(stack, game.id)["released_at"]
    assert game.instance()["id"] not in stack.run("instances").stdout
    assert stack.http.get("/instances", params={"live": True}).json() == []
    wait_for(lambda: not stack.http.get("/nodes/local").json()["stop_orders"], what="its word")


def test_a_second_game_waits_for_the_gpu_until_the_first_is_stopped(
    game: Game, beagle_text: str, tmp_path: Path
) -> None:
    stack = game.stack
    second = Platform(root=tmp_path / "second", instance=f"{game.platform.instance}-2").prepare()
    waiting = submit(stack, beagle_text, second)
    wait_for(lambda: stack.get(waiting)["reason"] == "NO_CAPACITY", what="the second to wait")
    assert "has 0 of 1 GPU(s) free" in stack.run("get", waiting).stdout
    game.stop()
    assert stack.finish(waiting)["state"] == "completed"
    assert httpx.get(f"http://127.0.0.1:{second.port}").text == PAGE
    stack.http.delete(f"/pipelines/{waiting}", params={"force": True})
    wait_for(lambda: not game.engine.containers(waiting), what="the second to be removed")


def test_a_fleet_without_a_gpu_keeps_it_waiting_and_says_why(
    make_stack: Callable[..., RunningStack],
    platform_engine: Engine,
    beagle_text: str,
    platform: Platform,
    tmp_path: Path,
) -> None:
    facts = tmp_path / "facts.yaml"
    facts.write_text(NO_GPU_FACTS)
    stack = make_stack("--facts", str(facts), DOCKER_HOST=platform_engine.url)
    with closing(Fleet(stack, tmp_path)) as fleet:
        fleet.add("other", "--facts", str(facts), docker_url=platform_engine.url).start()
        check_that_it_waits(stack, submit(stack, beagle_text, platform))


def check_that_it_waits(stack: RunningStack, waiting: str) -> None:
    wait_for(lambda: stack.get(waiting)["reason"] == "NO_CAPACITY", what="it to wait")
    record = stack.get(waiting)
    assert record["state"] == "pending"
    verdicts = stack.http.get(f"/pipelines/{waiting}/placement").json()["verdicts"]
    assert {(one["node_id"], one["code"], one["message"]) for one in verdicts} == {
        ("local", "GPU_SHORT", "has no GPU"),
        ("other", "GPU_SHORT", "has no GPU"),
    }
    for shown in (record["message"], stack.run("get", waiting).stdout, stack.run("list").stdout):
        assert "has no GPU" in " ".join(shown.split())
