"""Nodes that speak the schemas alone, against the real gateway on both stores."""

from collections.abc import AsyncIterator

import pytest

from tests.gateway.conftest import Gateway, gateway
from tests.reference.client import ReferenceNode

__all__ = ["gateway"]


@pytest.fixture
async def node(gateway: Gateway) -> AsyncIterator[ReferenceNode]:
    """Registered and connected."""
    node = ReferenceNode("ref")
    await node.register(gateway.grpc_address)
    await node.connect()
    yield node
    await node.leave()
