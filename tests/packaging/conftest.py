"""What is built and installed once for the session."""

from pathlib import Path

import pytest

from tests.packaging.installation import Installation, build_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def agent_alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel without any extra."""
    return Installation.make(tmp_path_factory.mktemp("agent"), wheel)


@pytest.fixture(scope="session")
def client_alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with the extra `client`."""
    return Installation.make(tmp_path_factory.mktemp("client"), wheel, "client")
