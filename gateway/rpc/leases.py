"""What one stream says of its work: heartbeats thinned, progress counted, ends completed."""

import time
from collections.abc import Callable

from gamepipe.model import reason as reasons
from gamepipe.model.errors import InvalidRequest
from gamepipe.model.lease import Outcome
from gamepipe.model.record import AttemptKey
from gamepipe.v1 import node_pb2, step_pb2
from gamepipe.wire import ReportKind
from gamepipe.wire.message import attempt_key, key_message
from gateway.rpc import translate
from gateway.rpc.plain import check_values
from gateway.rpc.recent import Recent
from gateway.rpc.token import TokenSeal, check_end
from gateway.work import GivenWork, WorkService

MAX_PROGRESS = 40
"""Progress of one dispatch that a stream may signal; what an agent sends beyond is passed over."""
PROGRESS_SECONDS = 0.25
"""Between two signals of one dispatch; what comes faster is asked for again."""
BEAT_SECONDS = 0.5
"""Heartbeats of one dispatch that come faster are passed over."""


class StreamLeases:
    """Converts and thins; forgets everything with its stream."""

    def __init__(
        self,
        work: WorkService,
        node_id: str,
        *,
        seal: TokenSeal,
        lose: Callable[[node_pb2.LeaseLost], None],
    ) -> None:
        self._work = work
        self._node_id = node_id
        self._seal = seal
        self._lose = lose
        self._renewed = Recent[float](0.0)
        self._running = Recent[bool](False)
        self._progressed = Recent[tuple[int, float]]((0, 0.0))
        """(how often, when last), by token."""

    async def renew(self, beat: node_pb2.WorkBeat, *, asked: bool) -> Outcome:
        """Heartbeat of one dispatch, or of an order. An agent that did not ask is told only what it
        must know."""
        work = self._open(beat.task_token, beat.key if beat.HasField("key") else None)
        now = time.monotonic()
        if not asked and now < self._renewed[beat.task_token] + BEAT_SECONDS:
            return Outcome.OK
        self._renewed[beat.task_token] = now
        outcome = await self._work.renew(work)
        if outcome is Outcome.ABORTED and not asked and work.key is not None:
            self._lose(
                node_pb2.LeaseLost(
                    task_token=beat.task_token,
                    key=key_message(work.key),
                    message="a newer attempt or another end stands in the pipeline",
                )
            )
        return outcome

    async def report(self, reported: node_pb2.StepReported) -> Outcome:
        report = translate.step_report(reported)
        work = self._open(reported.task_token, reported.key)
        key = self._key_of(work)
        if report.kind is ReportKind.PROGRESS:
            thinned = self._thin(reported.task_token)
        else:
            thinned = Outcome.OK if self._running[reported.task_token] else None
        if thinned is not None:
            return thinned
        outcome = await self._work.report(work, key, report)
        if outcome is Outcome.OK:
            self._count(report.kind, reported.task_token)
        return outcome

    def _count(self, kind: ReportKind, token: bytes) -> None:
        if kind is ReportKind.RUNNING:
            self._running[token] = True
        else:
            count, last = self._progressed[token]
            self._progressed[token] = count + 1, last

    def _thin(self, token: bytes) -> Outcome | None:
        """The answer to progress that is not signalled; None: it is."""
        count, last = self._progressed[token]
        if count >= MAX_PROGRESS:
            return Outcome.OK
        now = time.monotonic()
        if now < last + PROGRESS_SECONDS:
            return Outcome.RETRY
        self._progressed[token] = count, now
        return None

    async def end(self, ended: node_pb2.WorkEnded) -> Outcome:
        work = self._open(ended.task_token, ended.key if ended.HasField("key") else None)
        check_end(work.kind, ended.WhichOneof("end"))
        if work.key is not None and not ended.HasField("key"):
            raise InvalidRequest("the end of a step names its attempt: `key` is missing")
        if ended.WhichOneof("end") == "failed":
            failed = ended.failed
            outcome = await self._work.fail(work, reason=failed.reason, message=failed.message)
        else:
            outcome = await self._complete(work, ended)
        if outcome is not Outcome.RETRY:
            for table in (self._renewed, self._running, self._progressed):
                table.drop(ended.task_token)
        return outcome

    async def _complete(self, work: GivenWork, ended: node_pb2.WorkEnded) -> Outcome:
        """An end that cannot be read would be as wrong again: whoever waits for it must know."""
        try:
            check_values(ended)
            result = translate.work_result(ended, work)
        except InvalidRequest as error:
            outcome = await self._work.fail(
                work, reason=reasons.RUNNER_ERROR, message=error.message
            )
            if outcome is Outcome.OK:
                raise
            return outcome
        return await self._work.complete(work, result)

    def _open(self, token: bytes, said: step_pb2.AttemptKey | None) -> GivenWork:
        """The work that is spoken of. Raises `InvalidRequest`, also when what the agent says of it
        is not what it was given."""
        work = self._seal.open(token, self._node_id)
        if said is not None and attempt_key(said) != work.key:
            raise InvalidRequest("the token was given for another attempt than `key` names")
        return work

    @staticmethod
    def _key_of(work: GivenWork) -> AttemptKey:
        if work.key is None:
            raise InvalidRequest("only steps are reported on, not orders")
        return work.key
