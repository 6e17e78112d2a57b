"""What one stream says of its work: heartbeats thinned, progress counted, ends completed."""

import time
from collections import Counter
from collections.abc import Callable

from gamepipe.model import reason as reasons
from gamepipe.model.errors import InvalidRequest
from gamepipe.model.lease import Outcome
from gamepipe.model.record import AttemptKey
from gamepipe.v1 import node_pb2
from gamepipe.wire import ReportKind
from gamepipe.wire.message import attempt_key
from gateway.rpc import translate
from gateway.rpc.plain import check_values
from gateway.rpc.token import check_end, unmark
from gateway.work import WorkService

MAX_PROGRESS = 40
"""Progress of one attempt that a stream may signal; what an agent sends beyond is passed over."""
BEAT_SECONDS = 0.5
"""Heartbeats of one dispatch that come faster are passed over."""


class StreamLeases:
    """Converts and thins; forgets everything with its stream."""

    def __init__(self, work: WorkService, *, lose: Callable[[node_pb2.WorkBeat], None]) -> None:
        self._work = work
        self._lose = lose
        self._renewed: dict[bytes, float] = {}
        self._progressed: Counter[AttemptKey] = Counter()

    async def renew(self, beat: node_pb2.WorkBeat, *, asked: bool) -> Outcome:
        """Heartbeat of one dispatch, or of an order, which has no key. An agent that did not ask is
        told only what it must know."""
        _, token = unmark(beat.task_token)
        now = time.monotonic()
        if not asked and now < self._renewed.get(beat.task_token, 0.0) + BEAT_SECONDS:
            return Outcome.OK
        self._renewed[beat.task_token] = now
        key = attempt_key(beat.key) if beat.HasField("key") else None
        outcome = await self._work.renew(token, key)
        if outcome is Outcome.ABORTED and not asked:
            self._lose(beat)
        return outcome

    async def report(self, reported: node_pb2.StepReported) -> Outcome:
        report = translate.step_report(reported)
        key = attempt_key(reported.key)
        if report.kind is ReportKind.PROGRESS:
            self._progressed[key] += 1
            if self._progressed[key] > MAX_PROGRESS:
                return Outcome.OK
        return await self._work.report(key.pipeline_id, report)

    async def end(self, ended: node_pb2.WorkEnded) -> Outcome:
        kind, token = unmark(ended.task_token)
        check_end(kind, ended.WhichOneof("end"))
        if ended.WhichOneof("end") == "failed":
            failed = ended.failed
            self._renewed.pop(ended.task_token, None)
            return await self._work.fail(token, reason=failed.reason, message=failed.message)
        if kind == "run_step" and not ended.HasField("key"):
            raise InvalidRequest("the end of a step names its attempt: `key` is missing")
        try:
            check_values(ended)
            result = translate.work_result(ended)
        except InvalidRequest as error:
            return await self._give_up(token, error)
        key = attempt_key(ended.key) if kind == "run_step" else None
        outcome = await self._work.complete(token, result, key=key)
        if outcome is not Outcome.RETRY:
            self._renewed.pop(ended.task_token, None)
            if key is not None:
                self._progressed.pop(key, None)
        return outcome

    async def _give_up(self, token: bytes, error: InvalidRequest) -> Outcome:
        """An end that cannot be read would be as wrong again: whoever waits for it must know."""
        outcome = await self._work.fail(token, reason=reasons.RUNNER_ERROR, message=error.message)
        if outcome is Outcome.OK:
            raise error
        return outcome
