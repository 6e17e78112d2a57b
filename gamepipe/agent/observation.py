"""What the agent has to tell the gateway until the gateway has it: instances, confirmed stops."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from gamepipe.model.state import InstanceState
from gamepipe.v1 import node_pb2


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """A transition of an instance."""

    instance_id: str
    state: InstanceState
    exit_code: int | None = None
    reason: str = ""
    message: str = ""


class Outbox:
    """Kept until acknowledged (observations) or until sent on the stream that asked (stops)."""

    def __init__(self) -> None:
        self._sequence = itertools.count(1)
        self._observations: dict[int, Observation] = {}
        self._confirmed: set[int] = set()
        self._sent: set[int] = set()
        self._filled = asyncio.Event()

    def observe(self, observation: Observation) -> None:
        """Tell it until it is stored; not again what waits as the newest of that instance."""
        name = observation.instance_id
        waiting = [one for one in self._observations.values() if one.instance_id == name]
        if waiting and waiting[-1] == observation:
            return
        self._observations[next(self._sequence)] = observation
        self._filled.set()

    def confirm(self, order_id: int) -> None:
        self._confirmed.add(order_id)
        self._filled.set()

    def stored(self, sequence: int) -> None:
        """The gateway has it."""
        self._observations.pop(sequence, None)
        self._sent.discard(sequence)

    def rewind(self) -> None:
        """A new stream: what was not acknowledged is sent again. The gateway sends its stop orders
        again, so confirmations need no memory."""
        self._sent.clear()
        if self._observations:
            self._filled.set()

    async def wait(self) -> None:
        """Wait until there is something to send."""
        await self._filled.wait()

    def observations(self) -> Iterator[tuple[int, Observation]]:
        """What was not sent on this stream, in order."""
        self._filled.clear()
        for sequence, observation in list(self._observations.items()):
            if sequence not in self._sent:
                self._sent.add(sequence)
                yield sequence, observation

    def confirmations(self) -> Iterator[int]:
        while self._confirmed:
            yield self._confirmed.pop()


def observed(sequence: int, observation: Observation) -> node_pb2.ConnectRequest:
    """In the terms of the protocol."""
    return node_pb2.ConnectRequest(
        instance_observed=node_pb2.InstanceObserved(
            instance_id=observation.instance_id,
            state=observation.state.value,
            exit_code=observation.exit_code,
            reason=observation.reason,
            message=observation.message,
            sequence=sequence,
        )
    )
