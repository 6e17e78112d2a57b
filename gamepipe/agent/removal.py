"""Removes what a generation left on the node."""

import asyncio

import structlog

from gamepipe.agent.plan import RunnerTools
from gamepipe.model.record import AttemptKey

_log = structlog.get_logger()


async def remove_generation(
    tools: RunnerTools, pipeline_id: str, generation: int, *, keep_services: bool
) -> None:
    """Containers, processes, workspace, private files; spools go once they are shipped.

    A file that cannot be removed (a container made it as root) is a person's business, not a
    failure of the pipeline. Raises what a runtime raises.
    """
    for runtime in {id(one): one for one in tools.runtimes.values()}.values():
        await runtime.remove(pipeline_id, generation, keep_services=keep_services)
    tools.spools.close_generation(pipeline_id, generation)
    try:
        await asyncio.to_thread(tools.folders.remove_generation, pipeline_id, generation)
    except OSError as error:
        _log.error(
            "workspace.not_removed",
            action="workspace.not_removed",
            pipeline_id=pipeline_id,
            path=str(error.filename),
            error=error.strerror,
            remedy="remove the folder by hand, or run the agent as root",
        )


async def clean_after(tools: RunnerTools, key: AttemptKey) -> None:
    """Behind the last step; what fails here is tried again when the agent starts."""
    try:
        await remove_generation(tools, key.pipeline_id, key.generation, keep_services=True)
    except Exception as error:
        _log.warning(
            "workspace.clean_failed",
            action="workspace.clean_failed",
            pipeline_id=key.pipeline_id,
            error=repr(error),
        )
