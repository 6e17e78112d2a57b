"""How domain errors look to Temporal: one translation, for every activity of a worker."""

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

from gamepipe.model.errors import GamePipeError, RevisionConflict, Unavailable

_RETRIED = (Unavailable, RevisionConflict)
"""Waiting, or reading again, can help; anything else answers the same for ever."""


class ErrorInterceptor(Interceptor):
    """Turns `GamePipeError`s into application errors typed by their `reason`."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _TranslatingInbound(next)


class _TranslatingInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await self.next.execute_activity(input)
        except GamePipeError as error:
            raise ApplicationError(
                error.message, type=error.reason, non_retryable=not isinstance(error, _RETRIED)
            ) from error
