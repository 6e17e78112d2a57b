"""One agent's stream: heartbeats, observations and confirmations up; orders and changes down."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from gamepipe.model.errors import InvalidRequest, NotFound
from gamepipe.model.state import InstanceState, NodeState
from gamepipe.offer import OfferSender
from gamepipe.ports import Store
from gamepipe.v1 import node_pb2
from gateway.clock import utc_now
from gateway.rpc import translate
from gateway.rpc.beats import BeatWriter

_log = structlog.get_logger()


class NodeStream:
    """Takes what comes up and queues what goes down, until either side ends it."""

    def __init__(
        self, hello: node_pb2.Hello, *, store: Store, offers: OfferSender, beats: BeatWriter
    ) -> None:
        self.node_id = hello.node_id
        self.session = hello.session
        self._store = store
        self._offers = offers
        self._beats = beats
        self._down: asyncio.Queue[node_pb2.ConnectResponse | None] = asyncio.Queue()
        self._ordered: set[int] = set()
        self._state = NodeState.NORMAL

    async def open(self) -> None:
        """Greet the agent and tell it what waits for it. Raises `NotFound` for a node that never
        registered here; a session that is not the newest is told so."""
        instances = await self._store.instances.list(node_id=self.node_id, live_only=True)
        welcome = node_pb2.Welcome(instance_ids=[one.id for one in instances])
        await self._refresh()
        self._send(welcome=welcome)

    async def take(self, messages: AsyncIterator[node_pb2.ConnectRequest]) -> None:
        """Everything that the agent sends, in order; returns when it stops sending."""
        async for message in messages:
            match message.WhichOneof("message"):
                case "heartbeat":
                    self._beats.add(
                        self.node_id, self.session, translate.metrics(message.heartbeat)
                    )
                    await self._refresh()
                case "instance_observed":
                    await self._observe(message.instance_observed)
                case "stop_confirmed":
                    await self._confirm(message.stop_confirmed.order_id)
        self.close()

    async def outgoing(self) -> AsyncIterator[node_pb2.ConnectResponse]:
        while (message := await self._down.get()) is not None:
            yield message

    def close(self) -> None:
        """End the stream behind what is queued."""
        self._down.put_nowait(None)

    def supersede(self, newest: int) -> None:
        """A newer session is there: say so, then end."""
        self._send(superseded=node_pb2.Superseded(newest_session=newest))
        self.close()

    async def _refresh(self) -> None:
        """Look at what people and the control worker want of the node."""
        node = await self._store.nodes.get(self.node_id)
        if node.session != self.session:
            self.supersede(node.session)
            return
        if node.state is not self._state:
            self._state = node.state
            self._send(node_state_changed=node_pb2.NodeStateChanged(state=node.state.value))
        for order in await self._store.nodes.stop_orders(self.node_id) if node.stop_orders else ():
            if order.id not in self._ordered:
                self._ordered.add(order.id)
                self._send(stop_order=translate.stop_order(order))

    async def _observe(self, seen: node_pb2.InstanceObserved) -> None:
        """Store it, then acknowledge. An instance that the store does not know (its pipeline was
        deleted) is acknowledged too: repeating it helps nobody."""
        try:
            state = InstanceState(seen.state)
        except ValueError:
            states = ", ".join(InstanceState)
            raise InvalidRequest(f"{seen.state!r} is no state of an instance: {states}") from None
        try:
            _, offers = await self._store.instances.observe(
                seen.instance_id,
                state,
                now=utc_now(),
                exit_code=seen.exit_code if seen.HasField("exit_code") else None,
                reason=seen.reason,
                message=seen.message,
            )
            await self._offers.send(offers)
            await self._refresh()  # its end may have left something to clean up
        except NotFound:
            _log.warning(
                "instance.unknown",
                action="instance.unknown",
                node_id=self.node_id,
                instance_id=seen.instance_id,
            )
        self._send(observation_stored=node_pb2.ObservationStored(sequence=seen.sequence))

    async def _confirm(self, order_id: int) -> None:
        await self._offers.send(await self._store.nodes.confirm_stop(order_id, now=utc_now()))
        self._ordered.discard(order_id)

    def _send(self, **message: object) -> None:
        self._down.put_nowait(node_pb2.ConnectResponse(**message))  # type: ignore[arg-type]
