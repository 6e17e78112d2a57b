"""A value is masked before anything is cut from the text that holds it, so no part of it stays."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gamepipe.agent.container_facts import ContainerFacts
from gamepipe.agent.ending import MESSAGE_LIMIT, ended
from gamepipe.agent.folder import AgentFolders
from gamepipe.agent.mask import TAIL_LINES, Masker, MaskingSink
from gamepipe.agent.output import MAX_MESSAGE_LENGTH, ProgressReader, read_outputs
from gamepipe.agent.runtime import Exit
from gamepipe.model import reason as reasons
from gamepipe.model.record import LogStream
from tests.agent.making import Lines, make_plan, utc_now

SECRETS = st.text(alphabet="ABCDEFGHIJ", min_size=4, max_size=60)
"""Of letters that nothing around them is made of."""
CUT = settings(max_examples=80, deadline=None)


def left_of(secret: str, text: str) -> list[str]:
    """Characters of the secret that a text still shows."""
    return sorted(set(secret) & set(text))


def exit_of(**fields) -> Exit:
    return Exit(exit_code=1, started_at=utc_now(), ended_at=utc_now(), reason="WHY", **fields)


def told(leave: Exit, secret: str, tail: tuple[str, ...] = ()) -> str:
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(AgentFolders(Path(folder)), "true")
        return ended(leave, plan, masker=Masker([secret]), lines=0, tail=tail).message


@CUT
@given(SECRETS, st.integers(min_value=0, max_value=MAX_MESSAGE_LENGTH + 10))
def test_progress_shows_no_part_of_a_value(secret: str, offset: int):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output"
        path.write_text(f"GAMEPIPE_PROGRESS=42 {'x' * offset}{secret} rest\n")
        mark = ProgressReader(path, mask=Masker([secret]).mask).poll()
    assert mark is not None
    assert len(mark.message) <= MAX_MESSAGE_LENGTH
    assert left_of(secret, mark.message) == []


@CUT
@given(SECRETS, st.integers(min_value=0, max_value=MESSAGE_LIMIT + 10))
def test_a_failed_health_check_shows_no_part_of_a_value(secret: str, offset: int):
    message = told(exit_of(message="not up", said=f"{'x' * offset}{secret}\nrest"), secret)
    assert message.startswith("not up: x" if offset else "not up: *")
    assert len(message) <= MESSAGE_LIMIT
    assert left_of(secret, message) == []


@CUT
@given(SECRETS, st.integers(min_value=4000, max_value=4096))
def test_what_the_engine_cut_shows_no_part_of_a_value(secret: str, offset: int):
    printed = ("y" * offset + secret)[:4096]
    facts = ContainerFacts.from_inspect(inspected(printed + "..." if len(printed) == 4096 else ""))
    masked = Masker([secret]).mask(facts.health_output, is_cut=facts.health_output_is_cut)
    assert left_of(secret, masked) == []


def inspected(printed: str) -> dict:
    return {
        "Id": "i",
        "Name": "/n",
        "Config": {},
        "State": {
            "Running": True,
            "ExitCode": 0,
            "StartedAt": "2026-01-02T03:04:05Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "unhealthy", "Log": [{"Output": printed}]},
        },
    }


def test_what_a_check_printed_whole_keeps_its_end():
    facts = ContainerFacts.from_inspect(inspected("waiting for ABC...\n"))
    assert facts.health_output == "waiting for ABC..."
    masked = Masker(["ABCDEF"]).mask(facts.health_output, is_cut=facts.health_output_is_cut)
    assert masked == "waiting for ABC..."


@CUT
@given(SECRETS, st.integers(min_value=0, max_value=MESSAGE_LIMIT + 100), st.data())
async def test_quoted_lines_show_no_part_of_a_value(secret: str, behind: int, data):
    """The value may lie across the pieces of a long line, and across where the quote begins."""
    line = f"{'x' * 3000}{secret}{'x' * behind}"
    cut = data.draw(st.integers(min_value=3000, max_value=3000 + len(secret)))
    masking = MaskingSink(Lines(), Masker([secret]))
    await masking.write(LogStream.STDERR, line[:cut], at=utc_now(), continued=True)
    await masking.write(LogStream.STDERR, line[cut:], at=utc_now())
    leave = exit_of(message="ended early", quotes_log=True)
    message = told(leave, secret, tail=tuple(masking.tail))
    assert message.startswith("ended early; its last lines:\n")
    assert left_of(secret, message.split("\n", 1)[1]) == []


async def test_the_last_lines_of_each_stream_are_quoted_without_the_agents_own():
    masking = MaskingSink(Lines(), Masker([]))
    for number in range(TAIL_LINES + 1):
        await masking.write(LogStream.STDOUT, f"out {number}", at=utc_now())
    await masking.write(LogStream.SYSTEM, "stopping", at=utc_now())
    await masking.write(LogStream.STDERR, "oops", at=utc_now())
    assert masking.tail == [*(f"out {number}" for number in range(1, TAIL_LINES + 1)), "oops"]
    quoting = exit_of(message="ended", quotes_log=True)
    assert told(quoting, "none", tuple(masking.tail)).endswith("out 10\noops")
    assert told(replace(quoting, quotes_log=False), "none", tuple(masking.tail)) == "ended"


@pytest.mark.parametrize("secret", ["ABCDEFGH==", "NAME=ABCD"])
def test_a_value_that_looks_like_an_output_becomes_none(secret: str, tmp_path: Path):
    path = tmp_path / "output"
    path.write_text(f"url=http://{secret}/x\n{secret}\n")
    leave = replace(exit_of(), exit_code=0, reason="")
    plan = replace(make_plan(AgentFolders(tmp_path), "true"), output_file=path)
    result = ended(leave, plan, masker=Masker([secret]), lines=0)
    assert (result.reason, result.outputs) == (reasons.OUTPUT_INVALID, {})
    assert left_of("ABCD", result.message.replace("GAMEPIPE_OUTPUT is not KEY=", "")) == []
    path.write_text(f"url=http://{secret}/x\n")
    assert read_outputs(path, (), mask=Masker([secret]).mask) == {"url": "http://***/x"}
