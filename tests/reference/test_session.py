"""Sessions are numbers: the highest is the newest, and one that was never issued is unknown."""

import asyncio
import contextlib

import grpc
import pytest

from gateway.rpc.stream import NodeStream
from store.table import NodeRow
from store.transaction import Transaction
from tests.gateway.conftest import Gateway
from tests.reference.client import ReferenceNode
from tests.reference.test_limits import told


def go_back(tx: Transaction) -> None:
    """What restoring a backup does to the row of the node."""
    row = tx.session.get(NodeRow, "ref")
    assert row is not None
    row.session = 0
    tx.wake()


async def test_a_session_that_was_never_issued_is_told_so_and_superseded_by_nobody(
    gateway: Gateway, node: ReferenceNode
) -> None:
    ahead = ReferenceNode("ref")
    ahead.session, ahead.session_key = node.session + 5, node.session_key
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ahead.connect(gateway.grpc_address)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert told(refused.value).reason == "SESSION_UNKNOWN"
    await ahead.leave()


async def test_a_stream_that_the_store_knows_nothing_of_is_ended(
    gateway: Gateway, node: ReferenceNode
) -> None:
    """What it says would not be stored any more; registered anew, it goes on."""
    await gateway.store.nodes._database.write(go_back)
    with contextlib.suppress(grpc.aio.AioRpcError):  # a beat met its end
        await node.until_ended()
    await node.leave()
    await node.register(gateway.grpc_address)
    await node.connect()
    await node.beat()
    await node.until(lambda heard: heard.HasField("heartbeat_taken"))


async def test_of_two_streams_that_open_at_once_the_newer_one_stays(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly the older one opened."""
    old, new = ReferenceNode("ref", beats=False), ReferenceNode("ref")
    await old.register(gateway.grpc_address)
    slow, go = asyncio.Event(), asyncio.Event()
    really_open = NodeStream.open

    async def open_slowly(stream: NodeStream, *rest: object) -> None:
        await really_open(stream, *rest)
        if stream.session == old.session:
            slow.set()
            await go.wait()

    monkeypatch.setattr(NodeStream, "open", open_slowly)
    opening = asyncio.create_task(old.connect())
    await asyncio.wait_for(slow.wait(), 20)
    await new.register(gateway.grpc_address)
    await new.connect()
    go.set()
    await asyncio.wait_for(opening, 20)
    await old.until_ended()
    await new.beat()
    await new.until(lambda heard: heard.HasField("heartbeat_taken"))
    assert old.heard[-1].superseded.newest_session == new.session
    await old.leave()
    await new.leave()
