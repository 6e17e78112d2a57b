"""One agent's stream: heartbeats, reports and observations up; work, orders and changes down."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from gamepipe.model.errors import GamePipeError, InvalidRequest, Unavailable
from gamepipe.model.lease import Outcome
from gamepipe.model.node import NodeMetrics, Pace
from gamepipe.model.state import NodeState
from gamepipe.ports import NodeMark
from gamepipe.v1 import node_pb2
from gateway.rpc import translate
from gateway.rpc.leases import StreamLeases
from gateway.rpc.measure import metrics as measured
from gateway.rpc.plain import check_values
from gateway.rpc.protocol import HEARTBEAT_TAKEN, PACE, shared
from gateway.rpc.relay import NodeRelay
from gateway.rpc.toolbox import StreamTools

_log = structlog.get_logger()

TAKEN_AT_ONCE = 64
"""Reports of one stream that wait for Temporal or the store; further ones come again later."""
QUEUED_DOWN = 1000
"""Messages that an agent has not read yet; one that reads no more is let go."""
FLUSH_SECONDS = 1.0
"""How long a stream that ends may take to send what is queued."""
GRPC = "grpc"
_OUTCOMES = {
    Outcome.OK: node_pb2.OUTCOME_OK,
    Outcome.ABORTED: node_pb2.OUTCOME_ABORTED,
    Outcome.RETRY: node_pb2.OUTCOME_RETRY,
}


class NodeStream:
    """Takes what comes up and queues what goes down, until either side ends it."""

    def __init__(self, hello: node_pb2.Hello, *, tools: StreamTools) -> None:
        self.node_id = hello.node_id
        self.session = hello.session
        self._opening = translate.session(hello)
        self._features = shared(hello.features)
        self.number = 0
        """Among the streams of this node; the newest counts."""
        self.relays = False
        """The node's work goes down this stream."""
        self._tools = tools
        self.heard_at = tools.clock.time()
        self._agents = tools.agents
        self._beats = tools.beats
        self._down: asyncio.Queue[node_pb2.ConnectResponse | None] = asyncio.Queue()
        self._ordered: set[int] = set()
        self._closed = asyncio.Event()
        self._state = NodeState.NORMAL
        """As far as the agent was told."""
        self._pace: Pace | None = None
        self._relay: NodeRelay | None = None
        self._leases = StreamLeases(
            tools.agents.work,
            self.node_id,
            seal=tools.seal,
            lose=lambda lost: self._send(lease_lost=lost),
        )
        self._observing = asyncio.Lock()
        self._taking: set[asyncio.Task[None]] = set()
        self._serving: asyncio.Task[None] | None = None

    async def open(self, pace: Pace) -> None:
        """Greet the agent, which was told `pace` when it registered. Raises as
        `NodeRepository.connect` does, and `Unavailable` when this gateway had better not."""
        node = await self._agents.connect(self._opening)
        self.relays = node.transport == GRPC
        if trouble := self._tools.health.trouble(relays=self.relays):
            raise Unavailable(trouble)
        self.number, self._pace = node.stream, pace
        self._state = node.agent_state or NodeState.NORMAL
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
        if self.relays:
            self._serve()

    def _serve(self) -> None:
        self._relay = NodeRelay(
            self._agents.connect_temporal,
            self.node_id,
            send=lambda work: self._send(work=work),
            values=lambda key: self._agents.step_values(key, self.node_id),
            seal=self._tools.seal,
        )
        self._serving = asyncio.create_task(self._relay.run())

    # --- down -----------------------------------------------------------------------------------

    async def send_all(self, write: Callable[[node_pb2.ConnectResponse], Awaitable[None]]) -> None:
        """Send what is queued until the stream is closed, and then no longer than a moment: an
        agent that reads nothing any more must not hold it open."""
        sending = asyncio.ensure_future(self._send_queued(write))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait((sending, closed), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((sending,), timeout=FLUSH_SECONDS)
        finally:
            sending.cancel()
            closed.cancel()
            await asyncio.gather(sending, closed, return_exceptions=True)

    async def _send_queued(
        self, write: Callable[[node_pb2.ConnectResponse], Awaitable[None]]
    ) -> None:
        while (message := await self._down.get()) is not None:
            await write(message)

    async def heed(self, mark: NodeMark) -> None:
        """What people and other gateways want of the node; safe to repeat."""
        if (mark.session, mark.stream) != (self.session, self.number):
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
        if pace != self._pace and PACE in self._features:
            self._pace = pace
            self._send(
                pace=node_pb2.Pace(
                    heartbeat_seconds=pace.heartbeat.total_seconds(),
                    ttl_seconds=pace.ttl.total_seconds(),
                )
            )

    def is_newer_than(self, other: "NodeStream") -> bool:
        """Both are of one node; a newer session counts above a newer stream of an older one."""
        return (self.session, self.number) > (other.session, other.number)

    def is_ahead_of(self, mark: NodeMark) -> bool:
        """Of all that the store knows: it was restored from a backup since."""
        return (self.session, self.number) > (mark.session, mark.stream)

    def supersede(self, newest: int) -> None:
        """A newer stream is there: tell an older session so, then end."""
        if newest > self.session:
            self._send(superseded=node_pb2.Superseded(newest_session=newest))
        self.close()

    def close(self) -> None:
        """End the stream behind what is queued; nothing more is taken from the node's queue."""
        if self._serving is not None:
            self._serving.cancel()
        if not self._closed.is_set():
            self._closed.set()
            self._down.put_nowait(None)

    async def end(self) -> None:
        """Serve and take nothing any more."""
        tasks = [*self._taking, *([self._serving] if self._serving else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _send(self, **message: object) -> None:
        if self._closed.is_set():
            return
        self._down.put_nowait(node_pb2.ConnectResponse(**message))  # type: ignore[arg-type]
        if self._down.qsize() > QUEUED_DOWN:
            _log.warning("stream.stalled", action="stream.stalled", node_id=self.node_id)
            self.close()

    # --- up -------------------------------------------------------------------------------------

    async def take(self, messages: AsyncIterator[node_pb2.ConnectRequest]) -> None:
        """Everything that the agent sends; returns when it stops sending. What must be answered is
        taken beside the stream, so that heartbeats never wait behind it."""
        async for message in messages:
            self.heard_at = self._tools.clock.time()
            match message.WhichOneof("message"):
                case "heartbeat":
                    self._take_heartbeat(message)
                case "work_accepted":
                    if self._relay is not None:
                        self._relay.accepted(message.work_accepted.task_token)
                case "hello":
                    raise InvalidRequest("`hello` is said once, at the beginning of a stream")
                case _:
                    self._take_beside(message)
        self.close()

    def _take_heartbeat(self, message: node_pb2.ConnectRequest) -> None:
        """Answered once it is stored. Numbers that are none cost the node its metrics, no more."""
        try:
            check_values(message.heartbeat)
            metrics = measured(message.heartbeat)
        except InvalidRequest as error:
            self._refuse(error)
            metrics = NodeMetrics()
        self._beats.add(
            self.node_id, self.session, metrics, taken=lambda: self._answer_beat(message.sequence)
        )

    def _answer_beat(self, sequence: int) -> None:
        if HEARTBEAT_TAKEN in self._features:
            self._send(heartbeat_taken=node_pb2.HeartbeatTaken(sequence=sequence))

    def _take_beside(self, message: node_pb2.ConnectRequest) -> None:
        """What finds no room is asked for again: by the agent, or by the next look at the node."""
        if len(self._taking) >= TAKEN_AT_ONCE:
            self._answer(message, Outcome.RETRY, "the gateway is busy")
            return
        task = asyncio.create_task(self._take_one(message))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take_one(self, message: node_pb2.ConnectRequest) -> None:
        try:
            if not message.HasField("work_ended"):  # its waiter must know what is wrong with it
                check_values(message)
            outcome, said = await self._work_for(message)(), ""
        except Unavailable as error:
            outcome, said = Outcome.RETRY, error.message
        except GamePipeError as error:  # it is wrong, and would be wrong again
            outcome, said = Outcome.ABORTED, error.message
            self._refuse(error)
        except Exception as error:
            outcome, said = Outcome.RETRY, "an internal error; the gateway's log has it"
            _log.error(
                "message.failed", action="message.failed", node_id=self.node_id, exc_info=error
            )
        self._answer(message, outcome, said)

    def _answer(self, message: node_pb2.ConnectRequest, outcome: Outcome, said: str) -> None:
        if message.sequence:
            self._send(
                answered=node_pb2.Answered(
                    sequence=message.sequence, outcome=_OUTCOMES[outcome], message=said
                )
            )

    def _refuse(self, error: GamePipeError) -> None:
        _log.warning(
            "message.refused", action="message.refused", node_id=self.node_id, error=error.message
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
        async with self._observing:  # in the order in which they came
            await self._agents.observe(translate.observed(seen), self.node_id)
        return Outcome.OK

    async def _confirm(self, order_id: int) -> Outcome:
        self._ordered.discard(order_id)  # when this fails, it is ordered, and confirmed, again
        await self._agents.confirm_stop(order_id, self.node_id)
        return Outcome.OK

    async def _take_state(self, state: str) -> Outcome:
        await self._agents.take_state(self.node_id, self.session, translate.node_state(state))
        return Outcome.OK
