"""Stacks for the end-to-end tests: one that runs games, and fresh ones to be broken."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gamepipe.agent.container_engine import connect_docker
from tests.e2e.beagle import GPU_FACTS, Engine, import_platform_images, node_devices
from tests.e2e.fleet import Fleet
from tests.e2e.stack import RunningStack
from tests.stack_fixtures import StartStack, fleet_at, stacks_of, started, wanted_kinds


@pytest.fixture(scope="session", params=wanted_kinds())
def stack_kind(request: pytest.FixtureRequest) -> str:
    """The tests of the main job run over every one of them."""
    return str(request.param)


@pytest.fixture(scope="session")
def prepare_stack(stack_kind: str, request: pytest.FixtureRequest) -> StartStack:
    return stacks_of(stack_kind, request)


@pytest.fixture(scope="package")
def shared_stack(
    prepare_stack: StartStack, stack_kind: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """One stack of each kind, for tests that leave it as it was."""
    with started(prepare_stack(tmp_path_factory.mktemp(stack_kind))) as stack:
        assert stack.http.get("/nodes/local").json()["transport"] == stack_kind.partition("-")[0]
        yield stack


@pytest.fixture(scope="module")
def fleet(shared_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """More game nodes at that stack, gone at the end of the module."""
    with fleet_at(shared_stack, tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture(scope="session")
async def platform_engine(docker_url: str) -> AsyncIterator[Engine]:
    """A Docker engine with the images and devices of the Beagle Wind file."""
    client = connect_docker(docker_url)
    try:
        await import_platform_images(client)
    finally:
        await client.close()
    with node_devices():
        yield Engine(docker_url)


@pytest.fixture(scope="package")
def game_stack(
    platform_engine: Engine, prepare_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """One stack whose node runs containers and declares one GPU."""
    folder = tmp_path_factory.mktemp("game")
    (folder / "facts.yaml").write_text(GPU_FACTS)
    stack = prepare_stack(
        folder / "stack",
        *("--facts", str(folder / "facts.yaml")),
        DOCKER_HOST=platform_engine.url,
        GAMEPIPE_AGENT_SERVICE_UP_AFTER="0.5",
    )
    stack.start()
    yield stack
    stack.close()


@pytest.fixture
def make_stack(prepare_stack: StartStack, tmp_path: Path) -> Iterator[Callable[..., RunningStack]]:
    """Starts stacks of the test's own."""
    made: list[RunningStack] = []

    def make(*flags: str, **environment: str) -> RunningStack:
        stack = prepare_stack(tmp_path / f"stack{len(made)}", *flags, **environment)
        made.append(stack)
        stack.start()
        return stack

    yield make
    for stack in made:
        stack.close()
