"""What the agent has to tell the gateway: kept until it is answered, whatever stream that takes."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from gamepipe.agent.observation import Observation, observed
from gamepipe.v1 import node_pb2

MAX_NOTES = 1000
"""Notes that wait for a stream; the oldest go first, for what they say is said again."""
RETRY_SECONDS = 1.0
"""Before a message is sent again whose answer was RETRY."""

Answer = node_pb2.Answered


@dataclass(eq=False)
class Letter:
    """One message that wants an answer."""

    message: node_pb2.ConnectRequest
    answer: "asyncio.Future[Answer]"
    sent: bool = False
    due: float = 0.0
    """Monotonic seconds before which it is not sent."""


class Outbox:
    """Letters are sent again on every new stream until they are answered. Notes are sent once: the
    stream that they were meant for makes good what was lost with it."""

    def __init__(self) -> None:
        self._sequence = itertools.count(1)
        self._letters: dict[int, Letter] = {}
        self._notes: deque[node_pb2.ConnectRequest] = deque(maxlen=MAX_NOTES)
        self._observations: dict[str, tuple[int, Observation]] = {}
        """The newest of each instance that still waits for its answer."""
        self._filled = asyncio.Event()

    async def tell(self, message: node_pb2.ConnectRequest) -> Answer:
        """Send until it is answered with OK or ABORTED; cancelled, it is not sent any more."""
        sequence = self._add(message)
        try:
            return await self._letters[sequence].answer
        finally:
            self._letters.pop(sequence, None)

    def observe(self, observation: Observation) -> None:
        """Tell it until it is stored; not again what waits as the newest of that instance."""
        waiting = self._observations.get(observation.instance_id)
        if waiting is not None and waiting[1] == observation:
            return
        sequence = self._add(node_pb2.ConnectRequest(instance_observed=observed(observation)))
        self._observations[observation.instance_id] = (sequence, observation)

    def number(self) -> int:
        """A sequence that no other message has."""
        return next(self._sequence)

    def note(self, message: node_pb2.ConnectRequest) -> None:
        """Send once, if a stream is open."""
        self._notes.append(message)
        self._filled.set()

    def answered(self, answer: Answer) -> None:
        """The gateway said what became of it; RETRY sends it again a little later."""
        letter = self._letters.get(answer.sequence)
        if letter is None:
            return
        if answer.outcome == node_pb2.OUTCOME_RETRY and not self._is_overtaken(letter):
            letter.sent, letter.due = False, time.monotonic() + RETRY_SECONDS
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self._filled.set)
            return
        del self._letters[answer.sequence]
        if not letter.answer.done():
            letter.answer.set_result(answer)
        self._observations = {
            name: waiting
            for name, waiting in self._observations.items()
            if waiting[0] != answer.sequence
        }

    def _is_overtaken(self, letter: Letter) -> bool:
        """An observation whose instance was seen otherwise since: it would come behind that."""
        if not letter.message.HasField("instance_observed"):
            return False
        newest = self._observations.get(letter.message.instance_observed.instance_id)
        return newest is not None and newest[0] != letter.message.sequence

    def rewind(self) -> None:
        """A new stream: every letter is sent again, and no note."""
        self._notes.clear()
        for letter in self._letters.values():
            letter.sent = False
        self._filled.set()

    async def wait(self) -> None:
        """Wait until there may be something to send."""
        await self._filled.wait()

    def take(self) -> Iterator[node_pb2.ConnectRequest]:
        """What is to be sent now, in order."""
        self._filled.clear()
        while self._notes:
            yield self._notes.popleft()
        for letter in list(self._letters.values()):
            if not letter.sent and letter.due <= time.monotonic():
                letter.sent = True
                yield letter.message

    def _add(self, message: node_pb2.ConnectRequest) -> int:
        message.sequence = self.number()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._letters[message.sequence] = Letter(message, answer)
        self._filled.set()
        return message.sequence
