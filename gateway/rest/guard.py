"""What every request must be before a route sees it.

Without a token the gateway trusts whoever can reach it. On loopback that includes every page that
a browser on this machine shows, so a page of another site is refused: by its `Origin`, by the name
that it reached us by (a name that its owner points at 127.0.0.1), and by its body's media type,
for a form or a plain `fetch` can send no JSON without asking first.
"""

from urllib.parse import unquote_plus, urlsplit

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gamepipe.model.errors import Forbidden, GamePipeError, InvalidRequest
from gateway.auth import Access, check_token, is_loopback
from gateway.rest.body import YAML_TYPES
from gateway.rest.problem import of_error, problem

OPEN_PATHS = ("/healthz", "/readyz")
"""For probes, which carry no token; they say no more than whether we run."""
_REMEDY = "to serve others, set a bearer token (GAMEPIPE_TOKEN_FILE) and send it"


class RequestGuard:
    """ASGI middleware: answers what must not go on with a problem."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> JSONResponse | None:
        try:
            if not self._access.needs_token:
                _check_sender(request, loopback_only=self._access.loopback_only)
            elif request.url.path not in OPEN_PATHS:
                check_token(request.headers.get("authorization"), self._access.token())
            _check_text(request)
        except GamePipeError as error:
            return of_error(error)
        return _check_media_type(request)


def _check_sender(request: Request, *, loopback_only: bool) -> None:
    """Raises `Forbidden` for a page of another site."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    if loopback_only and host and not is_loopback(_name(f"//{host}")):
        raise Forbidden(
            f"the gateway answers to localhost and 127.0.0.1, not to the name {host!r}: ask it by "
            f"one of these; {_REMEDY}"
        )
    if origin is not None and _place(origin) != host.lower():
        raise Forbidden(
            f"a page of {origin!r} may not use this gateway, which has no token: {_REMEDY}"
        )


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _check_text(request: Request) -> None:
    """Raises `InvalidRequest` for what no id or name holds, and no database stores."""
    query = unquote_plus(str(request.scope.get("query_string", b""), "latin-1"))
    if "\0" in request.scope["path"] or "\0" in query:
        raise InvalidRequest("the address holds a zero character (%00): remove it")


def _check_media_type(request: Request) -> JSONResponse | None:
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return None
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json") or kind in YAML_TYPES:
        return None
    said = f"`Content-Type: {kind}`" if kind else "no Content-Type"
    remedy = f"send JSON as `application/json`, or YAML as `{YAML_TYPES[0]}`"
    return problem(415, "UNSUPPORTED_MEDIA_TYPE", f"the body has {said}: {remedy}")
