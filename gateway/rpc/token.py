"""Task tokens as agents get them: sealed, so that each names the work, its node and its run."""

import json
from hashlib import blake2b
from hmac import compare_digest

from gamepipe.model.errors import InvalidRequest
from gamepipe.model.record import AttemptKey
from gateway.work import GivenWork

ENDS = {
    "run_step": "step_result",
    "stop_step": "stop_answer",
    "stop_instance": "instance_end",
    "clean_workspace": "cleaned",
}
"""What ends each kind of work well; every order may also end as `failed`."""
_SEAL_BYTES = 16
_LENGTH_BYTES = 2


class TokenSeal:
    """`seal | length u16 | what the token names, as JSON | Temporal's own token`.

    All gateways of a store share the secret, so each opens what another has sealed.
    """

    def __init__(self, secret: str) -> None:
        self._secret = bytes.fromhex(secret)

    def close(self, work: GivenWork) -> bytes:
        named = json.dumps([work.kind, work.node_id, work.run_id, _numbers(work.key)]).encode()
        body = len(named).to_bytes(_LENGTH_BYTES, "big") + named + work.task_token
        return self._seal(body) + body

    def open(self, token: bytes, node_id: str) -> GivenWork:
        """Raises `InvalidRequest` for what no gateway has given to this node."""
        seal, body = token[:_SEAL_BYTES], token[_SEAL_BYTES:]
        if not compare_digest(seal, self._seal(body)):
            raise InvalidRequest("this is no task token that a gateway has given")
        end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES], "big")
        kind, holder, run_id, numbers = json.loads(body[_LENGTH_BYTES:end])
        if holder != node_id:
            raise InvalidRequest("this task token was given to another node")
        return GivenWork(
            kind=kind, node_id=holder, run_id=run_id, key=_key(numbers), task_token=body[end:]
        )

    def _seal(self, body: bytes) -> bytes:
        return blake2b(body, key=self._secret, digest_size=_SEAL_BYTES).digest()


def _numbers(key: AttemptKey | None) -> list[str | int] | None:
    if key is None:
        return None
    return [key.pipeline_id, key.generation, key.step_index, key.attempt]


def _key(numbers: tuple[str, int, int, int] | None) -> AttemptKey | None:
    if numbers is None:
        return None
    pipeline_id, generation, step_index, attempt = numbers
    return AttemptKey(
        pipeline_id=pipeline_id, generation=generation, step_index=step_index, attempt=attempt
    )


def check_end(kind: str, end: str | None) -> None:
    """Raises `InvalidRequest` for an end of another kind of work."""
    if end not in (ENDS[kind], "failed"):
        raise InvalidRequest(f"`{kind}` ends with `{ENDS[kind]}` or `failed`, not with `{end}`")
