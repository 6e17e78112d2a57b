"""Errors as `application/problem+json` with a stable `reason`; one table for all of them."""

import json

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from gamepipe.model import errors

_log = structlog.get_logger()

UNSTORABLE = "the request holds a value that the store cannot keep: a number or a time out of range"

STATUS: dict[type[errors.GamePipeError], int] = {
    errors.InvalidPipeline: 422,
    errors.InvalidRequest: 422,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.IllegalTransition: 409,
    errors.RevisionConflict: 409,
    errors.QueueFull: 429,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.Unavailable: 503,
}


class ProblemResponse(JSONResponse):
    """Plain ASCII: a problem may have to name a key that is no valid Unicode."""

    media_type = "application/problem+json"

    def render(self, content: object) -> bytes:
        return json.dumps(content).encode()


def status_of(error: errors.GamePipeError) -> int:
    """Of the class itself, or of the nearest one above it; 500 for what has none."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(status: int, reason: str, detail: str, **more: object) -> JSONResponse:
    body = {"type": "about:blank", "status": status, "reason": reason, "detail": detail} | more
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return ProblemResponse(body, status_code=status, headers=headers)


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    app.add_exception_handler(errors.GamePipeError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(Exception, _unexpected)


async def _domain(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, errors.GamePipeError)  # noqa: S101 - registered for it
    return await _unexpected(_, error) if status_of(error) == 500 else of_error(error)


def of_error(error: errors.GamePipeError) -> JSONResponse:
    """With what programs need to know of it."""
    more: dict[str, object] = {"metadata": dict(error.metadata)} if error.metadata else {}
    if isinstance(error, errors.InvalidPipeline):
        more["mistakes"] = [
            {name: getattr(mistake, name) for name in mistake.__slots__}
            for mistake in error.mistakes
        ]
    return problem(status_of(error), error.reason, error.message, **more)


async def _validation(_: Request, error: Exception) -> JSONResponse:
    """Where and what; never the input itself, which may hold values of envs and secrets."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    mistakes = [
        {"path": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()
    ]
    detail = "; ".join(f"{one['path']}: {one['problem']}" for one in mistakes)
    return problem(422, errors.InvalidRequest.reason, detail, mistakes=mistakes)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    reason = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "HTTP_ERROR")
    return problem(error.status_code, reason, f"{error.detail}; see /docs for what there is")


async def _unstorable(request: Request, error: Exception) -> JSONResponse:
    """The last line against input that no check caught; the error's text may hold values."""
    del error
    _log.warning("rest.unstorable", action="rest.unstorable", path=request.url.path)
    return problem(422, errors.InvalidRequest.reason, UNSTORABLE)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Logged here; its text is never sent."""
    _log.error(
        "rest.failed",
        action="rest.failed",
        method=request.method,
        path=request.url.path,
        exc_info=error,
    )
    return problem(500, "INTERNAL", "an internal error; the gateway's log has it")
