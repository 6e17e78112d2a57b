"""Who may call: a bearer token, and which addresses may be bound without one."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

import structlog
from pydantic import SecretStr

from gamepipe.config import Settings
from gamepipe.model.errors import InvalidRequest, Unauthenticated, Unavailable

_log = structlog.get_logger()

TokenSource = Callable[[], SecretStr | None]


class TokenReader:
    """The token for each call. One that cannot be read admits nobody."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._failure = ""

    def __call__(self) -> SecretStr | None:
        """Raises `Unavailable`; why is in the log, once, for it names a path."""
        try:
            token = self._settings.token()
        except InvalidRequest as error:
            self._tell(error.message)
            raise Unavailable(
                "the gateway cannot read its token, so it admits nobody: its log says why"
            ) from error
        self._failure = ""
        return token

    def _tell(self, failure: str) -> None:
        if failure != self._failure:
            _log.error("token.unreadable", action="token.unreadable", error=failure)
        self._failure = failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How the gateway is guarded."""

    token: TokenSource
    needs_token: bool
    loopback_only: bool
    """REST listens where only this machine's programs can reach it: its browsers, too."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            token=TokenReader(settings),
            needs_token=settings.token_file is not None,
            loopback_only=is_loopback(settings.rest_host),
        )


def check_binding(settings: Settings) -> None:
    """Raises `InvalidRequest` for an open address without a token, or a token that is none."""
    if settings.token() is not None or settings.insecure:
        return
    for name, host in (("REST", settings.rest_host), ("gRPC", settings.grpc_host)):
        if not is_loopback(host):
            raise InvalidRequest(
                f"{name} would listen on {host}, where others can reach it: set "
                "GAMEPIPE_TOKEN_FILE to a file that holds a bearer token, or accept the risk with "
                "GAMEPIPE_INSECURE=true"
            )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_token(header: str | None, wanted: SecretStr | None) -> None:
    """Raises `Unauthenticated` unless the header carries the token; no token admits everybody."""
    if wanted is None:
        return
    scheme, _, given = (header or "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), wanted.get_secret_value().encode())
    if scheme.lower() != "bearer" or not right:
        raise Unauthenticated("send `Authorization: Bearer TOKEN` with the gateway's token")
