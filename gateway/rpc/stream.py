"""One agent's stream: heartbeats, reports and observations up; work, orders and changes down."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from gamepipe.model.errors import GamePipeError, InvalidRequest, Unavailable
from gamepipe.model.lease import Outcome
from gamepipe.model.node import Pace
from gamepipe.model.state import NodeState
from gamepipe.ports import NodeMark
from gamepipe.v1 import node_pb2
from gateway.agents import AgentService
from gateway.rpc import translate
from gateway.rpc.beats import BeatWriter
from gateway.rpc.leases import StreamLeases
from gateway.rpc.relay import NodeRelay

_log = structlog.get_logger()

TAKEN_AT_ONCE = 64
"""Reports of one stream that wait for Temporal or the store; then its agent waits."""
GRPC = "grpc"
_OUTCOMES = {
    Outcome.OK: node_pb2.OUTCOME_OK,
    Outcome.ABORTED: node_pb2.OUTCOME_ABORTED,
    Outcome.RETRY: node_pb2.OUTCOME_RETRY,
}


class NodeStream:
    """Takes what comes up and queues what goes down, until either side ends it."""

    def __init__(self, hello: node_pb2.Hello, *, agents: AgentService, beats: BeatWriter) -> None:
        self.node_id = hello.node_id
        self.session = hello.session
        self.number = 0
        """Among the streams of this node; the newest counts."""
        self.heard_at = time.monotonic()
        self._agents = agents
        self._beats = beats
        self._down: asyncio.Queue[node_pb2.ConnectResponse | None] = asyncio.Queue()
        self._ordered: set[int] = set()
        self._state = NodeState.NORMAL
        self._pace: Pace | None = None
        self._relay: NodeRelay | None = None
        self._leases = StreamLeases(agents.work, lose=self._lose)
        self._room = asyncio.Semaphore(TAKEN_AT_ONCE)
        self._taking: set[asyncio.Task[None]] = set()
        self._serving: asyncio.Task[None] | None = None

    async def open(self, pace: Pace) -> None:
        """Greet the agent, which was told `pace` when it registered. Raises `NotFound` for a node
        that never registered, and `LeaseLost` for a session that is not the newest."""
        node = await self._agents.connect(self.node_id, self.session)
        self.number, self._pace = node.stream, pace
        instances = await self._agents.expected_instances(self.node_id)
        self._send(welcome=node_pb2.Welcome(instance_ids=instances))
        await self.heed(
            NodeMark(
                session=node.session,
                stream=node.stream,
                state=node.state,
                stop_orders=1,  # look for them: nobody has told this stream of any
            )
        )
        if node.transport == GRPC:
            self._serve()

    def _serve(self) -> None:
        self._relay = NodeRelay(
            self._agents.connect_temporal,
            self.node_id,
            send=lambda work: self._send(work=work),
            values=lambda key: self._agents.step_values(key, self.node_id),
        )
        self._serving = asyncio.create_task(self._relay.run())

    # --- down -----------------------------------------------------------------------------------

    async def outgoing(self) -> AsyncIterator[node_pb2.ConnectResponse]:
        while (message := await self._down.get()) is not None:
            yield message

    async def heed(self, mark: NodeMark) -> None:
        """What people and other gateways want of the node; safe to repeat."""
        if (mark.session, mark.stream) > (self.session, self.number):
            self.supersede(mark.session)
            return
        if mark.state is not self._state:
            self._state = mark.state
            self._send(node_state_changed=node_pb2.NodeStateChanged(state=mark.state.value))
        for order in await self._agents.stop_orders(self.node_id) if mark.stop_orders else ():
            if order.id not in self._ordered:
                self._ordered.add(order.id)
                self._send(stop_order=translate.stop_order(order))

    def set_pace(self, pace: Pace) -> None:
        if pace != self._pace:
            self._pace = pace
            self._send(
                pace=node_pb2.Pace(
                    heartbeat_seconds=pace.heartbeat.total_seconds(),
                    ttl_seconds=pace.ttl.total_seconds(),
                )
            )

    def supersede(self, newest: int) -> None:
        """A newer stream is there: tell an older session so, then end."""
        if newest > self.session:
            self._send(superseded=node_pb2.Superseded(newest_session=newest))
        self.close()

    def close(self) -> None:
        """End the stream behind what is queued."""
        self._down.put_nowait(None)

    async def end(self) -> None:
        """Serve and take nothing any more."""
        tasks = [*self._taking, *([self._serving] if self._serving else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _send(self, **message: object) -> None:
        self._down.put_nowait(node_pb2.ConnectResponse(**message))  # type: ignore[arg-type]

    def _lose(self, beat: node_pb2.WorkBeat) -> None:
        self._send(
            lease_lost=node_pb2.LeaseLost(
                task_token=beat.task_token,
                key=beat.key,
                message="a newer attempt or another end stands in the pipeline",
            )
        )

    # --- up -------------------------------------------------------------------------------------

    async def take(self, messages: AsyncIterator[node_pb2.ConnectRequest]) -> None:
        """Everything that the agent sends; returns when it stops sending. What must be answered is
        taken beside the stream, so that heartbeats never wait behind it."""
        async for message in messages:
            self.heard_at = time.monotonic()
            match message.WhichOneof("message"):
                case "heartbeat":
                    self._beats.add(
                        self.node_id, self.session, translate.metrics(message.heartbeat)
                    )
                    self._send(heartbeat_taken=node_pb2.HeartbeatTaken())
                case "work_accepted":
                    if self._relay is not None:
                        self._relay.accepted(message.work_accepted.task_token)
                case "hello":
                    raise InvalidRequest("`hello` is said once, at the beginning of a stream")
                case _:
                    await self._take_beside(message)
        self.close()

    async def _take_beside(self, message: node_pb2.ConnectRequest) -> None:
        await self._room.acquire()
        task = asyncio.create_task(self._take_one(message))
        self._taking.add(task)
        task.add_done_callback(self._taken)

    def _taken(self, task: "asyncio.Task[None]") -> None:
        self._taking.discard(task)
        self._room.release()

    async def _take_one(self, message: node_pb2.ConnectRequest) -> None:
        try:
            outcome, said = await self._work_for(message)(), ""
        except Unavailable as error:
            outcome, said = Outcome.RETRY, error.message
        except GamePipeError as error:  # it is wrong, and would be wrong again
            outcome, said = Outcome.ABORTED, error.message
            _log.warning(
                "message.refused",
                action="message.refused",
                node_id=self.node_id,
                error=error.message,
            )
        except Exception as error:
            outcome, said = Outcome.RETRY, "an internal error; the gateway's log has it"
            _log.error(
                "message.failed", action="message.failed", node_id=self.node_id, exc_info=error
            )
        if message.sequence:
            self._send(
                answered=node_pb2.Answered(
                    sequence=message.sequence, outcome=_OUTCOMES[outcome], message=said
                )
            )

    def _work_for(self, message: node_pb2.ConnectRequest) -> Callable[[], Awaitable[Outcome]]:
        match message.WhichOneof("message"):
            case "instance_observed":
                return lambda: self._observe(message.instance_observed)
            case "stop_confirmed":
                return lambda: self._confirm(message.stop_confirmed.order_id)
            case "node_state_taken":
                return lambda: self._take_state(message.node_state_taken.state)
            case "work_beat":
                return lambda: self._leases.renew(message.work_beat, asked=bool(message.sequence))
            case "step_reported":
                return lambda: self._leases.report(message.step_reported)
            case "work_ended":
                return lambda: self._leases.end(message.work_ended)
        raise InvalidRequest("a message of a kind that this gateway does not know")

    async def _observe(self, seen: node_pb2.InstanceObserved) -> Outcome:
        await self._agents.observe(translate.observed(seen))
        return Outcome.OK

    async def _confirm(self, order_id: int) -> Outcome:
        await self._agents.confirm_stop(order_id, self.node_id)
        self._ordered.discard(order_id)
        return Outcome.OK

    async def _take_state(self, state: str) -> Outcome:
        await self._agents.take_state(self.node_id, self.session, translate.node_state(state))
        return Outcome.OK
