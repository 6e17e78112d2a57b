"""`GamePipelineGRPCService`: what clients call."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel

from gamepipe.model.errors import InvalidRequest
from gamepipe.model.record import AttemptKey, LogLine, PipelineRecord
from gamepipe.model.state import PipelineState, StepState
from gamepipe.ports import LogQuery, PipelineFilter
from gamepipe.v1 import pipeline_pb2 as pb
from gamepipe.v1 import pipeline_pb2_grpc
from gamepipe.wire import PipelineStatus, StepStatus
from gamepipe.wire.message import key_message
from gateway.logs import checked
from gateway.rpc import translate
from gateway.rpc.failure import Context, translated, translated_stream
from gateway.service import Change, GamePipelineService
from gateway.submission import Submission
from gateway.view import EventView, PipelineSummary, PipelineView, StepView

M = TypeVar("M", bound=Message)


class GamePipelineServicer(pipeline_pb2_grpc.GamePipelineGRPCServiceServicer):
    """Adapters only; every method is one call of the service."""

    def __init__(self, service: GamePipelineService, *, workflow_base: str) -> None:
        self._service = service
        self._workflow_base = workflow_base

    @translated
    async def CreatePipeline(  # noqa: N802
        self, request: pb.CreatePipelineRequest, context: Context
    ) -> pb.CreatePipelineResponse:
        del context
        record, created = await self._service.create(_submission(request))
        return pb.CreatePipelineResponse(pipeline=self._show(record), created=created)

    @translated
    async def GetPipeline(  # noqa: N802
        self, request: pb.GetPipelineRequest, context: Context
    ) -> pb.GetPipelineResponse:
        del context
        return pb.GetPipelineResponse(pipeline=self._show(await self._service.get(request.id)))

    @translated
    async def ListPipelines(  # noqa: N802
        self, request: pb.ListPipelinesRequest, context: Context
    ) -> pb.ListPipelinesResponse:
        del context
        page = await self._service.list(_filter(request))
        return pb.ListPipelinesResponse(
            items=[_fill(PipelineSummary.model_validate(one), pb.Pipeline()) for one in page.items],
            total=page.total,
            page=page.page,
            size=page.size,
        )

    @translated
    async def UpdatePipeline(  # noqa: N802
        self, request: pb.UpdatePipelineRequest, context: Context
    ) -> pb.UpdatePipelineResponse:
        del context
        change = Change(
            name=request.name if request.HasField("name") else None,
            labels=dict(request.labels.labels) if request.HasField("labels") else None,
            priority=request.priority if request.HasField("priority") else None,
            submission=_submission(request.definition) if request.HasField("definition") else None,
        )
        record = await self._service.update(request.id, change)
        return pb.UpdatePipelineResponse(pipeline=self._show(record))

    @translated
    async def DeletePipeline(  # noqa: N802
        self, request: pb.DeletePipelineRequest, context: Context
    ) -> pb.DeletePipelineResponse:
        del context
        await self._service.delete(request.id, force=request.force)
        return pb.DeletePipelineResponse()

    @translated
    async def CancelPipeline(  # noqa: N802
        self, request: pb.CancelPipelineRequest, context: Context
    ) -> pb.CancelPipelineResponse:
        del context
        given = request.HasField("grace_seconds")
        grace = _duration(request.grace_seconds) if given else None
        record = await self._service.cancel(request.id, reason=request.reason, grace=grace)
        return pb.CancelPipelineResponse(pipeline=self._show(record))

    @translated
    async def UpdatePipelineStatus(  # noqa: N802
        self, request: pb.UpdatePipelineStatusRequest, context: Context
    ) -> pb.UpdatePipelineStatusResponse:
        del context
        state = translate.known(PipelineState, request.state, "state of a pipeline")
        status = PipelineStatus(state=state, message=request.message)
        record = await self._service.status.update_pipeline(request.id, status)
        return pb.UpdatePipelineStatusResponse(pipeline=self._show(record))

    @translated
    async def UpdateStepStatus(  # noqa: N802
        self, request: pb.UpdateStepStatusRequest, context: Context
    ) -> pb.UpdateStepStatusResponse:
        del context
        status = StepStatus(
            generation=request.key.generation,
            step_index=request.key.step_index,
            attempt=request.key.attempt,
            state=translate.known(StepState, request.state, "state of a step"),
            percent=request.percent if request.HasField("percent") else None,
            reason=request.reason,
            message=request.message,
            exit_code=request.exit_code if request.HasField("exit_code") else None,
            outputs=dict(request.outputs),
        )
        step = await self._service.status.update_step(request.key.pipeline_id, status)
        shown = _fill(StepView.model_validate(step), pb.StepStatus())
        return pb.UpdateStepStatusResponse(step=shown)

    @translated_stream
    async def StreamLogs(  # noqa: N802
        self, request: pb.StreamLogsRequest, context: Context
    ) -> AsyncIterator[pb.StreamLogsResponse]:
        del context
        logs, query = self._service.logs, await self._log_query(request)
        names = await self._service.step_names(request.id)
        lines = logs.follow(query) if request.follow else logs.read(query)
        async for key, line in lines:
            yield _line(key, line, names)

    @translated_stream
    async def WatchPipeline(  # noqa: N802
        self, request: pb.WatchPipelineRequest, context: Context
    ) -> AsyncIterator[pb.WatchPipelineResponse]:
        del context
        async for event in self._service.watch(request.id, after_id=request.after_event_id):
            view = EventView.model_validate(event)
            yield pb.WatchPipelineResponse(event=_fill(view, pb.Event()))

    async def _log_query(self, request: pb.StreamLogsRequest) -> LogQuery:
        query = LogQuery(
            pipeline_id=request.id,
            generation=request.generation if request.HasField("generation") else None,
            step_index=await self._service.step_index(request.id, request.step),
            attempt=request.attempt if request.HasField("attempt") else None,
            tail=request.tail if request.HasField("tail") else None,
            since=_time(request.since) if request.HasField("since") else None,
            search=request.search,
            regex=request.regex,
        )
        return checked(query)

    def _show(self, record: PipelineRecord) -> pb.Pipeline:
        return _fill(PipelineView.of(record, self._workflow_base), pb.Pipeline())


def _submission(request: pb.CreatePipelineRequest) -> Submission:
    return Submission(
        definition=request.definition,
        id=request.id,
        args=dict(request.args),
        envs=dict(request.envs),
        secrets=dict(request.secrets),
    )


def _filter(request: pb.ListPipelinesRequest) -> PipelineFilter:
    size = request.size or 50
    if size > 1000:
        raise InvalidRequest(f"a page of {size} pipelines is too large: ask for at most 1000")
    return PipelineFilter(
        states=tuple(
            translate.known(PipelineState, state, "state of a pipeline") for state in request.states
        ),
        node_id=request.node_id,
        template=request.template,
        tenant=request.tenant,
        name=request.name,
        labels=dict(request.labels),
        start_time=_time(request.start_time) if request.HasField("start_time") else None,
        end_time=_time(request.end_time) if request.HasField("end_time") else None,
        sort_by=request.sort_by or "created_at",
        sort_order=request.sort_order or "desc",
        page=request.page or 1,
        size=size,
    )


def _fill(view: BaseModel, message: M) -> M:
    """The fields that REST shows, by the same names."""
    data = view.model_dump(mode="json", exclude_none=True)
    return json_format.ParseDict(data, message, ignore_unknown_fields=True)


def _time(stamp: Timestamp) -> datetime:
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"a time is out of range: {error}") from None


def _duration(seconds: float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{seconds} is no number of seconds: {error}") from None


def _line(key: AttemptKey, line: LogLine, names: Sequence[str]) -> pb.StreamLogsResponse:
    return pb.StreamLogsResponse(
        key=key_message(key),
        line=translate.line_message(line),
        step_name=names[key.step_index] if key.step_index < len(names) else "",
    )
