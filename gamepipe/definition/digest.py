"""What makes two submissions the same."""

import hashlib
import json
from dataclasses import replace

from gamepipe.definition.bind import Bound
from gamepipe.definition.codec import encode_stated


def content_digest(bound: Bound) -> str:
    """SHA-256 (hex) over spec, args, envs and secrets; the pipeline's id does not count.

    It is for comparing in the store: short values could be guessed from it, so it is not shown.
    """
    content = {
        "spec": encode_stated(replace(bound.spec, id="")),
        "args": dict(bound.args),
        "envs": dict(bound.envs),
        "secrets": dict(bound.secrets),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
