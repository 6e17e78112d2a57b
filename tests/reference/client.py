"""A node written from the schemas alone: `grpcio` and generated messages, none of our own code.

It shows what an agent in any language has to do, and no more: register, hold a stream, accept
work, beat, report, end it under its token, send again what was not answered.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Callable

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from gamepipe.v1 import log_pb2, node_pb2, node_pb2_grpc, step_pb2

FACTS = node_pb2.NodeFacts(cpu=4, memory_bytes=1 << 33, features=["command", "container"])


def now() -> Timestamp:
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


class ReferenceNode:
    """One node; `connect` may be called again, with the same or another gateway."""

    def __init__(self, node_id: str, *, beats: bool = True) -> None:
        self.node_id = node_id
        self._beats = beats
        self._beating: asyncio.Task[None] | None = None
        self.session = 0
        self.session_key = ""
        self.features = ["pace", "heartbeat_taken"]
        self.work: asyncio.Queue[node_pb2.Work] = asyncio.Queue()
        self.heard: list[node_pb2.ConnectResponse] = []
        self.accept = True
        self.deaf = False
        """Answers are lost."""
        self._sequence = itertools.count(1)
        self._answers: dict[int, asyncio.Future[node_pb2.Answered]] = {}
        self._newest: dict[bytes, bytes] = {}
        """The newest task token of each attempt."""
        self._changed = asyncio.Condition()
        self._saying = asyncio.Lock()
        self._channel: grpc.aio.Channel | None = None
        self._reader: asyncio.Task[None] | None = None

    async def register(self, address: str, *, nonce: str = "") -> node_pb2.RegisterResponse:
        self._channel = grpc.aio.insecure_channel(address)
        self.stub = node_pb2_grpc.GameNodeServiceStub(self._channel)
        answer = await self.stub.Register(
            node_pb2.RegisterRequest(
                node_id=self.node_id,
                facts=FACTS,
                transport="grpc",
                protocol=1,
                features=self.features,
                nonce=nonce or secrets.token_hex(16),
            )
        )
        self.session, self.session_key = answer.session, answer.session_key
        self.features = list(answer.features)
        return answer

    async def connect(self, address: str = "") -> None:
        """Open a stream with the session at hand; at another address with a channel of its own."""
        if address:
            await self.leave()
            self._channel = grpc.aio.insecure_channel(address)
            self.stub = node_pb2_grpc.GameNodeServiceStub(self._channel)
        self._call = self.stub.Connect()
        await self._call.write(node_pb2.ConnectRequest(hello=self.hello()))
        first = await asyncio.wait_for(self._call.read(), 10)
        assert first.WhichOneof("message") in ("welcome", "superseded"), first
        self.heard.append(first)
        self._reader = asyncio.create_task(self._read(self._call))
        if self._beats:
            self._stop_beating()
            self._beating = asyncio.create_task(self._keep_beating())

    def hello(self) -> node_pb2.Hello:
        return node_pb2.Hello(
            node_id=self.node_id,
            session=self.session,
            session_key=self.session_key,
            features=self.features,
        )

    async def leave(self) -> None:
        """Cut the stream without a word."""
        self._stop_beating()
        if self._reader is not None:
            self._call.cancel()
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()

    async def _keep_beating(self) -> None:
        """Until the stream ends: a gateway lets a silent one go."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self.beat()
                await asyncio.sleep(0.3)

    async def until_ended(self, *, seconds: float = 20) -> None:
        """Until the gateway has ended the stream."""
        assert self._reader is not None
        await asyncio.wait_for(asyncio.shield(self._reader), seconds)

    async def _read(self, call: grpc.aio.StreamStreamCall) -> None:
        while isinstance(message := await call.read(), node_pb2.ConnectResponse):
            if message.HasField("answered") and not self.deaf:
                waiting = self._answers.pop(message.answered.sequence, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message.answered)
            if message.work.HasField("run_step"):
                self._newest[_name_of(key_of(message.work))] = message.work.task_token
            if message.HasField("work") and self.accept:
                await self.say(
                    work_accepted=node_pb2.WorkAccepted(task_token=message.work.task_token)
                )
                await self.work.put(message.work)
            async with self._changed:
                self.heard.append(message)
                self._changed.notify_all()

    async def until(self, heard: Callable[[node_pb2.ConnectResponse], bool]) -> None:
        """Until a message came that is so."""
        async with self._changed:
            await asyncio.wait_for(
                self._changed.wait_for(lambda: any(heard(one) for one in self.heard)), 30
            )

    # --- what a node says -----------------------------------------------------------------------

    async def say(self, **message: object) -> None:
        async with self._saying:
            await self._call.write(node_pb2.ConnectRequest(**message))  # type: ignore[arg-type]

    async def ask(self, **message: object) -> int:
        """The outcome of a message that wants an answer; RETRY is sent again, under the newest
        token of its attempt."""
        async with asyncio.timeout(60):
            while (outcome := await self._ask_once(**message)) == node_pb2.OUTCOME_RETRY:
                await asyncio.sleep(0.2)
                for part in message.values():
                    self._renew_token(part)
        return outcome

    async def _ask_once(self, **message: object) -> int:
        sequence = next(self._sequence)
        answer = asyncio.get_running_loop().create_future()
        self._answers[sequence] = answer
        await self.say(sequence=sequence, **message)
        return int((await asyncio.wait_for(answer, 30)).outcome)

    def _renew_token(self, part: object) -> None:
        about_work = (node_pb2.WorkBeat, node_pb2.StepReported, node_pb2.WorkEnded)
        if isinstance(part, about_work) and part.HasField("key"):
            part.task_token = self._newest.get(_name_of(part.key), part.task_token)

    async def take(self, kind: str = "run_step") -> node_pb2.Work:
        """The next piece of work; before an order a step may come that is sent once more."""
        work = await asyncio.wait_for(self.work.get(), 30)
        while kind != "run_step" and work.HasField("run_step"):
            work = await asyncio.wait_for(self.work.get(), 30)
        assert work.WhichOneof("work") == kind, work
        return work

    async def take_of(self, pipeline_id: str) -> node_pb2.Work:
        """Its step; others that are sent once more meanwhile are known already."""
        while (work := await self.take()).run_step.pipeline_id != pipeline_id:
            pass
        return work

    async def beat(self) -> None:
        await self.say(heartbeat=node_pb2.Heartbeat(running_steps=1))

    async def renew(self, work: node_pb2.Work) -> int:
        return await self.ask(
            work_beat=node_pb2.WorkBeat(task_token=work.task_token, key=key_of(work))
        )

    async def running(self, work: node_pb2.Work) -> int:
        return await self.ask(
            step_reported=node_pb2.StepReported(
                task_token=work.task_token, key=key_of(work), kind="running", at=now()
            )
        )

    async def progress(self, work: node_pb2.Work, percent: float, message: str = "") -> int:
        return await self.ask(
            step_reported=node_pb2.StepReported(
                task_token=work.task_token,
                key=key_of(work),
                kind="progress",
                at=now(),
                percent=percent,
                message=message,
            )
        )

    async def wrote(self, work: node_pb2.Work, **outputs: str) -> int:
        return await self.ask(
            step_reported=node_pb2.StepReported(
                task_token=work.task_token,
                key=key_of(work),
                kind="progress",
                at=now(),
                outputs=outputs,
            )
        )

    async def end(self, work: node_pb2.Work, state: str = "completed", **result: object) -> int:
        ended = step_pb2.StepResult(
            state=state,
            started_at=now(),
            ended_at=now(),
            **result,  # type: ignore[arg-type]
        )
        return await self.ask(
            work_ended=node_pb2.WorkEnded(
                task_token=work.task_token, key=key_of(work), step_result=ended
            )
        )

    async def stopped(self, work: node_pb2.Work) -> int:
        return await self.ask(
            work_ended=node_pb2.WorkEnded(
                task_token=work.task_token, stop_answer=step_pb2.StopAnswer(was_running=True)
            )
        )

    async def cleaned(self, work: node_pb2.Work) -> int:
        return await self.ask(
            work_ended=node_pb2.WorkEnded(task_token=work.task_token, cleaned=node_pb2.Cleaned())
        )

    async def log(self, work: node_pb2.Work, *texts: str, first: int = 1) -> int:
        """The last number that is stored."""
        lines = [
            log_pb2.LogLine(
                number=first + place, at=now(), stream=log_pb2.LOG_STREAM_STDOUT, text=text
            )
            for place, text in enumerate(texts)
        ]
        call = self.stub.PushLogs()
        await call.write(
            node_pb2.PushLogsRequest(
                node_id=self.node_id,
                session=self.session,
                session_key=self.session_key,
                key=key_of(work),
                lines=lines,
            )
        )
        answer = await asyncio.wait_for(call.read(), 10)
        call.cancel()
        return int(answer.last_number)


def key_of(work: node_pb2.Work) -> step_pb2.AttemptKey:
    assignment = work.run_step
    return step_pb2.AttemptKey(
        pipeline_id=assignment.pipeline_id,
        generation=assignment.generation,
        step_index=assignment.step.index,
        attempt=assignment.attempt,
    )


def _name_of(key: step_pb2.AttemptKey) -> bytes:
    return key.SerializeToString(deterministic=True)
