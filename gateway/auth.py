"""Who may call: a bearer token, and which addresses may be bound without one."""

import hmac
from collections.abc import Callable
from ipaddress import ip_address

from pydantic import SecretStr

from gamepipe.config import Settings
from gamepipe.model.errors import InvalidRequest, Unauthenticated

TokenSource = Callable[[], SecretStr | None]


def check_binding(settings: Settings) -> None:
    """Raises `InvalidRequest` for an open address without a token."""
    token = settings.token()
    if token is not None and not token.get_secret_value():
        raise InvalidRequest(f"the token file {settings.token_file} is empty: write a token to it")
    if token is not None or settings.insecure:
        return
    for name, host in (("REST", settings.rest_host), ("gRPC", settings.grpc_host)):
        if not is_loopback(host):
            raise InvalidRequest(
                f"{name} would listen on {host}, where others can reach it: give a bearer token "
                "with --token-file FILE (GAMEPIPE_TOKEN_FILE), or accept the risk with --insecure"
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
