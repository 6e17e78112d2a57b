"""Log lines of many streams, written together."""

import structlog

from gamepipe.groupcommit import GroupCommit
from gamepipe.logchunk import LogChunk
from gamepipe.model.errors import GamePipeError
from gateway.agents import AgentService

_log = structlog.get_logger()

AT_ONCE = 1024
"""Chunks that share one transaction at most."""

LineWriter = GroupCommit[LogChunk, int]
"""Answers each chunk with the last stored number of its attempt."""


def line_writer(agents: AgentService) -> LineWriter:
    return LineWriter(agents.append_logs, at_once=AT_ONCE, report=_report)


def _report(error: Exception) -> None:
    if not isinstance(error, GamePipeError):
        _log.error("lines.unwritten", action="lines.unwritten", exc_info=error)
