"""What the agent promises to remember has reached the disk, with the name it is found by."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from gamepipe.agent.journal import AttemptEntry, AttemptJournal
from gamepipe.agent.lease import Lease, LeaseFolder
from gamepipe.agent.spool_folder import SpoolFolder
from gamepipe.agent.spool_limit import SpoolLimits
from gamepipe.model.record import AttemptKey, LogStream
from gamepipe.model.state import StepState
from gamepipe.wire import StepResult
from tests.agent.making import assignment, utc_now
from tests.agent.node import stop_of

KEY = AttemptKey(pipeline_id="p", generation=1, step_index=0, attempt=1)
ENTRY = AttemptEntry.of(assignment("true"), "r", begun_at=utc_now())


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was brought to the disk, in order."""
    found: list[Path] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        found.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


async def test_the_journal_is_on_the_disk_with_its_folders(tmp_path: Path, synced: list[Path]):
    journal = AttemptJournal(tmp_path / "journal")
    await journal.begin(KEY, ENTRY)
    step = tmp_path / "journal/p/g1/step-0"
    assert synced == [*list(step.parents)[3::-1], step / ".a1.json.tmp", step]
    synced.clear()
    end = StepResult(state=StepState.COMPLETED, started_at=None, ended_at=utc_now())
    await journal.finish(KEY, ENTRY, end)
    await journal.mark_stopped(stop_of(), "r")
    assert synced == [step / ".a1.json.tmp", step, step / ".stop-a1.tmp", step]


async def test_a_lease_is_on_the_disk_before_it_is_accepted(tmp_path: Path, synced: list[Path]):
    leases = LeaseFolder(tmp_path / "leases")
    await leases.keep(Lease(task_token="00", run_id="r", assignment=assignment("true")))
    assert synced[-1] == tmp_path / "leases"
    assert synced[-2].parent == tmp_path / "leases"


async def test_what_was_begun_with_leases_is_done_before_the_agent_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, begun, held = LeaseFolder(tmp_path), threading.Event(), threading.Event()
    kept = Lease(task_token="00", run_id="r", assignment=assignment("true"))
    await leases.keep(kept)
    unlink = Path.unlink

    def slow(path: Path, *, missing_ok: bool = False) -> None:
        begun.set()
        held.wait(20)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", slow)
    dropping = asyncio.create_task(leases.drop(kept.key))
    assert await asyncio.to_thread(begun.wait, 20)
    dropping.cancel()
    closing = asyncio.create_task(leases.close())
    await asyncio.sleep(0)
    held.set()
    await closing
    assert list(leases.all()) == []


async def test_a_spool_is_on_the_disk_segment_by_segment(tmp_path: Path, synced: list[Path]):
    spools = SpoolFolder(tmp_path / "spool", SpoolLimits(segment_bytes=100))
    spool = spools.open(KEY)
    await spool.write(LogStream.STDOUT, "x" * 100, at=utc_now())
    folder = tmp_path / "spool" / KEY.path
    assert folder / f"{1:020d}.seg" not in synced
    await spool.write(LogStream.STDOUT, "y", at=utc_now())
    assert synced[-2:] == [folder / f"{1:020d}.seg", folder]
    synced.clear()
    await spool.finish()
    assert synced[:3] == [folder / f"{2:020d}.seg", folder / "series", folder]
    assert synced[-1] == tmp_path / "spool"
