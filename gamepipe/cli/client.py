"""The REST API as the commands use it: answers are JSON, errors are sentences."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gamepipe.cli.failure import CommandFailed, ExitStatus
from gamepipe.embedded.info import default_data_dir, read_info

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 120.0
"""A forced deletion waits for the pipeline's end."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the service is, and the token for it."""

    url: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def find_target(url: str, token_file: Path | None) -> Target:
    """The given address; else that of the local stack; else the usual one."""
    if not url:
        running = read_info(default_data_dir())
        url = running.url if running else DEFAULT_URL
    token = os.environ.get("GAMEPIPE_TOKEN", "")
    if token_file is not None:
        token = read_token(token_file)
    return Target(url=url.rstrip("/"), token=token)


def read_token(path: Path) -> str:
    """Raises `CommandFailed` for a file that cannot be read or holds no token."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandFailed(
            f"cannot read the token file {path}: {problem}; name a readable one with --token-file "
            "or GAMEPIPE_TOKEN_FILE",
            ExitStatus.USAGE,
        ) from error
    if not token.isascii() or not token.isprintable() or not token:
        raise CommandFailed(
            f"the token file {path} must hold one line of ASCII letters", ExitStatus.USAGE
        )
    return token


class ApiClient:
    """Calls `/api/v1`; raises `CommandFailed` with the service's own words."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._http = httpx.Client(
            base_url=f"{target.url}/api/v1",
            headers=target.headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
            verify=target.url.startswith("https:"),  # reading all certificates takes a while
        )

    def call(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """The answer's JSON; None when it is empty."""
        with explained(self.target):
            answer = self._http.request(method, path, json=body, params=dict(query or {}))
        check(answer)
        return answer.json() if answer.content else None

    @contextmanager
    def stream(
        self, path: str, *, query: Mapping[str, Any], accept: str
    ) -> Iterator[Iterator[str]]:
        """Lines of a streamed answer as they come."""
        with (
            explained(self.target),
            self._http.stream(
                "GET",
                path,
                params=dict(query),
                headers={"Accept": accept},
                timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            ) as answer,
        ):
            if answer.is_error:
                answer.read()
            check(answer)
            yield answer.iter_lines()


def client(url: str, token_file: Path | None) -> ApiClient:
    """For the options `Url` and `TokenFile`."""
    return ApiClient(find_target(url, token_file))


@contextmanager
def explained(target: Target) -> Iterator[None]:
    """No connection is no traceback."""
    try:
        yield
    except httpx.TransportError as error:
        raise CommandFailed(
            f"no gateway answers at {target.url} ({error or type(error).__name__}): start one with "
            "`gamepipe up`, or name it with --url or GAMEPIPE_URL"
        ) from error


def check(answer: httpx.Response) -> None:
    """Raises `CommandFailed` for an error answer."""
    if answer.is_success:
        return
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict) or "detail" not in problem:
        raise CommandFailed(f"{answer.url} answers {answer.status_code}: is it the gateway?")
    wrong_input = answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    raise CommandFailed(
        f"{problem['detail']} [{problem.get('reason', answer.status_code)}]",
        ExitStatus.USAGE if wrong_input else ExitStatus.FAILED,
    )
