"""The spool and what ships it: each line arrives once in the end, whatever breaks."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gamepipe.agent.channel import GatewayChannel
from gamepipe.agent.shipper import LogShipper
from gamepipe.agent.spool_folder import SpoolFolder
from gamepipe.agent.spool_limit import SpoolLimits
from gamepipe.limit import LINE_BYTES, LOG_REQUEST_BYTES
from gamepipe.model.record import AttemptKey, LogStream
from tests.agent.gateway import Gateway
from tests.waiting import eventually

KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
NAME = ("p", 1, 0, 1)
AT = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
async def channel(gateway: Gateway):
    channel = GatewayChannel((gateway.address,), lambda: None)
    yield channel
    await channel.close()


@pytest.fixture
def spools(tmp_path: Path) -> SpoolFolder:
    return SpoolFolder(tmp_path / "spool", SpoolLimits(segment_bytes=4096))


class Shipping:
    """A shipper in a task."""

    def __init__(self, channel: GatewayChannel, spools: SpoolFolder) -> None:
        self._task = asyncio.create_task(LogShipper(channel, "node-1", spools).run())

    async def __aenter__(self) -> "Shipping":
        return self

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done(), self._task
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def write(spools: SpoolFolder, *texts: str, key: AttemptKey = KEY) -> None:
    spool = spools.open(key)
    for text in texts:
        await spool.write(LogStream.STDOUT, text, at=AT, position=f"behind {text}")


async def test_lines_arrive_as_they_were_written(channel, spools, gateway: Gateway):
    spool = spools.open(KEY)
    await spool.write(LogStream.STDOUT, "out", at=AT)
    await spool.write(LogStream.STDERR, "\x1b[31merr", at=AT, continued=True)
    await spool.write(LogStream.SYSTEM, "tail", at=AT)
    async with Shipping(channel, spools):
        await gateway.until(lambda: len(gateway.logs[NAME]) == 3)
    lines = gateway.logs[NAME]
    assert [line.number for line in lines] == [1, 2, 3]
    assert [line.stream for line in lines] == [
        LogStream.STDOUT,
        LogStream.STDERR,
        LogStream.SYSTEM,
    ]
    assert [line.continued for line in lines] == [False, True, False]
    assert lines[0].at == AT


async def test_a_spool_goes_once_it_ended_and_arrived(channel, spools, gateway, tmp_path: Path):
    await write(spools, *map(str, range(1000)))
    await spools.open(KEY).finish()
    async with Shipping(channel, spools):
        await eventually(lambda: not list((tmp_path / "spool").rglob("*.seg")))
    assert gateway.texts(NAME) == list(map(str, range(1000)))
    assert not (tmp_path / "spool" / "p").exists()


async def test_the_last_segment_stays_while_the_attempt_lives(channel, spools, gateway, tmp_path):
    await write(spools, *map(str, range(1000)))
    async with Shipping(channel, spools):
        await eventually(lambda: len(list((tmp_path / "spool").rglob("*.seg"))) == 1)
        await eventually(lambda: spools.open(KEY).is_drained)
    again = SpoolFolder(tmp_path / "spool").open(KEY)
    assert (again.last_number, again.resume_position()) == (1000, "behind 999")


async def test_a_spool_has_ended_only_once_that_is_on_the_disk(spools):
    await write(spools, "a")
    spool = spools.open(KEY)
    finishing = asyncio.create_task(spool.finish())
    await asyncio.sleep(0)  # It has begun, and waits for the disk.
    assert not spool.ended
    assert await finishing == 1
    assert spool.ended


async def test_what_an_earlier_agent_left_is_shipped(channel, spools, gateway, tmp_path: Path):
    await write(spools, "a", "b")
    async with Shipping(channel, SpoolFolder(tmp_path / "spool")):
        await gateway.until(lambda: gateway.texts(NAME) == ["a", "b"])


async def test_a_line_that_grew_too_large_goes_on_in_the_next(channel, spools, gateway: Gateway):
    """Rubbish of 64 KiB is 192 KiB as a text."""
    text = "\ufffd" * LINE_BYTES + "end"
    await spools.open(KEY).write(LogStream.STDOUT, text, at=AT, position="behind it")
    assert spools.open(KEY).resume_position() == "behind it"
    await write(spools, "next")
    async with Shipping(channel, spools):
        await gateway.until(lambda: gateway.texts(NAME)[-1:] == ["next"])
    *pieces, _ = gateway.logs[NAME]
    assert "".join(piece.text for piece in pieces) == text
    assert max(len(piece.text.encode()) for piece in pieces) <= LINE_BYTES
    assert [piece.continued for piece in pieces] == [True] * (len(pieces) - 1) + [False]


async def test_requests_stay_within_the_limit_whatever_the_lines_hold(
    channel, tmp_path: Path, gateway: Gateway
):
    """Many short lines at times that do not compress."""
    spools, dice = SpoolFolder(tmp_path / "many"), random.Random(1)
    spool = spools.open(KEY)
    for _ in range(60_000):
        at = AT + timedelta(microseconds=dice.getrandbits(55))
        await spool.write(LogStream.STDOUT, dice.randbytes(12).hex(), at=at)
    async with Shipping(channel, spools):
        await gateway.until(lambda: len(gateway.logs[NAME]) == 60_000)
    assert gateway.largest_push <= LOG_REQUEST_BYTES


async def test_a_broken_stream_neither_loses_nor_doubles(channel, spools, gateway: Gateway):
    gateway.break_pushes_after = 1
    texts = [f"{number} {'x' * 4000}" for number in range(500)]
    await write(spools, *texts)
    async with Shipping(channel, spools):
        await gateway.until(lambda: len(gateway.logs[NAME]) == 500)
        assert gateway.break_pushes_after is None
        await write(spools, "last")
        await gateway.until(lambda: len(gateway.logs[NAME]) == 501)
    assert gateway.texts(NAME) == [*texts, "last"]


async def test_a_gateway_that_restarts_gets_the_rest(channel, spools, gateway: Gateway):
    async with Shipping(channel, spools):
        await write(spools, "a")
        await gateway.until(lambda: gateway.texts(NAME) == ["a"])
        await gateway.stop()
        await write(spools, "b")
        await gateway.start()
        await gateway.until(lambda: gateway.texts(NAME) == ["a", "b"])


async def test_a_gap_is_sent_again_from_where_the_gateway_stands(channel, spools, gateway):
    await write(spools, "a", "b", "c")
    async with Shipping(channel, spools):
        await gateway.until(lambda: len(gateway.logs[NAME]) == 3)
        gateway.logs[NAME] = gateway.logs[NAME][:1]  # Its last transaction was lost.
        await write(spools, "d")
        await gateway.until(lambda: gateway.texts(NAME) == ["a", "b", "c", "d"])


async def test_a_step_waits_while_too_much_is_unacknowledged(channel, gateway, tmp_path: Path):
    limits = SpoolLimits(unacknowledged_bytes=64 * 1024, segment_bytes=8 * 1024)
    spools = SpoolFolder(tmp_path / "spool", limits)
    gateway.hold_acknowledgements.clear()
    async with Shipping(channel, spools):
        writer = asyncio.create_task(write(spools, *["x" * 1000] * 1000))
        spool = spools.open(KEY)
        await eventually(lambda: spool.stored_bytes >= 64 * 1024)
        assert not writer.done()
        assert spool.stored_bytes < 80 * 1024
        gateway.hold_acknowledgements.set()
        await asyncio.wait_for(writer, 20)
        await gateway.until(lambda: len(gateway.logs[NAME]) == 1000)


async def test_many_attempts_share_the_stream(channel, spools, gateway: Gateway):
    keys = [
        AttemptKey(pipeline_id=f"p{number}", generation=1, step_index=0, attempt=1)
        for number in range(40)
    ]
    async with Shipping(channel, spools):
        for key in keys:
            await write(spools, "a", "b", key=key)
        await gateway.until(
            lambda: all(len(gateway.logs[(f"p{n}", 1, 0, 1)]) == 2 for n in range(40))
        )


async def test_a_torn_tail_is_cut_off_and_numbering_goes_on(spools, tmp_path: Path):
    await write(spools, "a", "b")
    segment = next((tmp_path / "spool").rglob("*.seg"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-3])
    again = SpoolFolder(tmp_path / "spool").open(KEY)
    assert (again.last_number, again.resume_position()) == (1, "behind a")
    await again.write(LogStream.STDOUT, "c", at=AT)
    assert [line.text for line in again.read(1, max_bytes=10_000)] == ["a", "c"]
