"""Domain errors as gRPC status with `google.rpc.ErrorInfo`; one table for all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.exc import DataError

from gamepipe.model import errors
from gateway.rpc.plain import check_values

_log = structlog.get_logger()
T = TypeVar("T")

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "gamepipe"
CODE: dict[type[errors.GamePipeError], grpc.StatusCode] = {
    errors.InvalidPipeline: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.IllegalTransition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.RevisionConflict: grpc.StatusCode.ABORTED,
    errors.QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}
MAX_VIOLATIONS = 20
Context = grpc.aio.ServicerContext[Any, Any]


def code_of(error: errors.GamePipeError) -> grpc.StatusCode:
    """Of the class itself, or of the nearest one above it; INTERNAL for what has none."""
    kinds = type(error).__mro__
    return next((CODE[kind] for kind in kinds if kind in CODE), grpc.StatusCode.INTERNAL)


async def abort(context: Context, error: Exception) -> NoReturn:
    """End the call with the error's status; what is not ours is logged, its text never sent."""
    if isinstance(error, DataError):  # its text may hold values
        error = errors.InvalidRequest("the request holds a value that the store cannot keep")
    code = code_of(error) if isinstance(error, errors.GamePipeError) else grpc.StatusCode.INTERNAL
    if not isinstance(error, errors.GamePipeError) or code is grpc.StatusCode.INTERNAL:
        _log.error("rpc.failed", action="rpc.failed", exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, "an internal error; the gateway's log has it")
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=error.message)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata)
    )
    status.details.add().Pack(info)
    if isinstance(error, errors.InvalidPipeline):
        status.details.add().Pack(_violations(error))
    await context.abort(
        code, error.message, trailing_metadata=((DETAILS_KEY, status.SerializeToString()),)
    )


def _violations(error: errors.InvalidPipeline) -> error_details_pb2.BadRequest:
    """Every mistake; as many as a status can carry in its metadata."""
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=mistake.path, description=str(mistake)
            )
            for mistake in error.mistakes[:MAX_VIOLATIONS]
        ]
    )


def translated(
    call: Callable[[Any, Any, Context], Awaitable[T]],
) -> Callable[[Any, Any, Context], Awaitable[T]]:
    """A unary method whose domain errors become status codes."""

    @wraps(call)
    async def wrapper(self: Any, request: Any, context: Context) -> T:
        try:
            check_values(request)
            return await call(self, request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await abort(context, error)

    return wrapper


def translated_stream(
    call: Callable[[Any, Any, Context], AsyncIterator[T]],
) -> Callable[[Any, Any, Context], AsyncIterator[T]]:
    """The same for a method that answers with a stream."""

    @wraps(call)
    async def wrapper(self: Any, request: Any, context: Context) -> AsyncIterator[T]:
        try:
            check_values(request)
            async for message in call(self, request, context):
                yield message
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await abort(context, error)

    return wrapper
