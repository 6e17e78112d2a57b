"""A request of a workflow that fails again and again: retried without limit, but not unseen."""

from collections.abc import Callable
from datetime import datetime

import structlog
from temporalio import activity

from gamepipe.model import reason as reasons
from gamepipe.model.errors import GamePipeError, RevisionConflict, Unavailable
from gamepipe.ports import Store
from gamepipe.wire import SaveRequest

_log = structlog.get_logger()

STUCK_AFTER_ATTEMPTS = 5
"""What failed this often in a row needs a person."""


class StuckMarker:
    """Says in the pipeline's row that its run cannot save."""

    def __init__(self, store: Store, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def note(self, request: SaveRequest, error: Exception) -> None:
        """After enough attempts: an ERROR in the log, and WORKFLOW_STUCK with the error's type
        only, for its text may hold what could not be stored. A store that is away marks nobody."""
        attempt = activity.info().attempt
        if isinstance(error, Unavailable | RevisionConflict) or attempt < STUCK_AFTER_ATTEMPTS:
            return
        kind = type(error).__name__
        _log.error(
            "save.failing",
            action="save.failing",
            pipeline_id=request.pipeline_id,
            attempt=attempt,
            error=kind,
            exc_info=error,
        )
        try:
            await self._mark(request, f"its state cannot be saved ({kind}); see the worker's log")
        except GamePipeError as failure:
            _log.warning(
                "save.failing_unmarked",
                action="save.failing_unmarked",
                pipeline_id=request.pipeline_id,
                error=failure.message,
            )

    async def _mark(self, request: SaveRequest, message: str) -> None:
        record = await self._store.pipelines.get(request.pipeline_id)
        same = record.incarnation == request.incarnation
        if same and not record.state.is_terminal and record.reason != reasons.WORKFLOW_STUCK:
            await self._store.pipelines.update_status(
                record.id,
                record.state,
                reason=reasons.WORKFLOW_STUCK,
                message=message,
                now=self._now(),
            )
