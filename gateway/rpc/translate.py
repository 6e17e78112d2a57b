"""Messages of the protocol to domain values and back."""

from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import ValidationError

from gamepipe.limit import LOG_REQUEST_BYTES, OUTPUT_BYTES
from gamepipe.logchunk import LogChunk, check, check_limit, check_lines
from gamepipe.model.errors import InvalidRequest
from gamepipe.model.node import GpuFacts, Location, NodeFacts
from gamepipe.model.record import AttemptKey, Instance, LogLine, LogStream, StopOrder
from gamepipe.model.state import InstanceState, NodeState, StepState
from gamepipe.ports import NodeSession, Registration
from gamepipe.v1 import log_pb2, node_pb2
from gamepipe.wire import InstanceEnd, ReportKind, StepReport, StepResult, StopAnswer
from gamepipe.wire.message import attempt_key, from_message
from gateway.agents import Observed
from gateway.work import GivenWork, WorkResult

_STREAMS = {
    log_pb2.LOG_STREAM_STDOUT: LogStream.STDOUT,
    log_pb2.LOG_STREAM_STDERR: LogStream.STDERR,
    log_pb2.LOG_STREAM_SYSTEM: LogStream.SYSTEM,
}
_NUMBERS = {stream: number for number, stream in _STREAMS.items()}


_Speaker = (
    node_pb2.Hello
    | node_pb2.PushLogsRequest
    | node_pb2.FetchStepSecretsRequest
    | node_pb2.ReportMetricsRequest
)


def session(message: _Speaker) -> NodeSession:
    """Who says that it speaks for a node."""
    return NodeSession(node_id=message.node_id, number=message.session, key=message.session_key)


def registration(message: node_pb2.RegisterRequest, *, session_key: str) -> Registration:
    return Registration(
        node_id=message.node_id,
        facts=_facts(message.facts),
        labels=dict(message.labels),
        location=_location(message.location),
        transport=message.transport or "temporal",
        nonce=message.nonce,
        session_key=session_key,
    )


def _facts(message: node_pb2.NodeFacts) -> NodeFacts:
    return NodeFacts(
        cpu=message.cpu,
        memory_bytes=message.memory_bytes,
        disk_bytes=message.disk_bytes,
        gpus=tuple(
            GpuFacts(
                index=gpu.index,
                model=gpu.model,
                memory_bytes=gpu.memory_bytes,
                uuid=gpu.uuid,
                encoders=gpu.encoders,
            )
            for gpu in message.gpus
        ),
        os=message.os,
        kernel=message.kernel,
        architecture=message.architecture,
        docker_version=message.docker_version,
        agent_version=message.agent_version,
        features=tuple(message.features),
        images=tuple(message.images),
    )


def _location(message: node_pb2.Location) -> Location:
    return Location(
        text=message.text,
        region=message.region,
        zone=message.zone,
        latitude=message.latitude if message.HasField("latitude") else None,
        longitude=message.longitude if message.HasField("longitude") else None,
    )


def observed(message: node_pb2.InstanceObserved) -> Observed:
    """Raises `InvalidRequest` for what is no state."""
    return Observed(
        instance_id=message.instance_id,
        state=known(InstanceState, message.state, "state of an instance"),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        reason=message.reason,
        message=message.message,
    )


def node_state(text: str) -> NodeState:
    """Raises `InvalidRequest`."""
    return known(NodeState, text, "state of a node")


def step_report(message: node_pb2.StepReported) -> StepReport:
    """Raises `InvalidRequest` for another kind than running and progress, and `LimitExceeded`."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in message.outputs.items())
    check_limit("outputs", "what a report says of outputs", size, OUTPUT_BYTES)
    return StepReport(
        generation=message.key.generation,
        step_index=message.key.step_index,
        attempt=message.key.attempt,
        kind=known(ReportKind, message.kind, "kind of report"),
        at=moment(message.at),
        percent=message.percent if message.HasField("percent") else None,
        message=message.message,
        outputs=dict(message.outputs),
    )


def work_result(message: node_pb2.WorkEnded, work: GivenWork) -> WorkResult:
    """Raises `InvalidRequest` for an end that is none, or not of this work."""
    try:
        match message.WhichOneof("end"):
            case "step_result":
                return _ended(from_message(message.step_result, StepResult), work)
            case "stop_answer":
                return from_message(message.stop_answer, StopAnswer)
            case "instance_end":
                return from_message(message.instance_end, InstanceEnd)
            case "cleaned":
                return None
    except ValidationError as error:
        raise InvalidRequest(f"`work_ended` cannot be read: {_flaws(error)}") from None
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"`work_ended` cannot be read: {error}") from None
    raise InvalidRequest("`work_ended` says no end")


def _flaws(error: ValidationError) -> str:
    """Fields and what is wrong with them, without what they hold."""
    found = error.errors(include_input=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found)


def _ended(result: StepResult, work: GivenWork) -> StepResult:
    if result.instance is not None:
        _check_instance(result.instance, work)
    if result.state not in (StepState.COMPLETED, StepState.FAILED):
        raise InvalidRequest(f"a step ends as completed or failed, not as {result.state}")
    return result


def _check_instance(one: Instance, work: GivenWork) -> None:
    """Raises `InvalidRequest` for an instance of another node or step."""
    key = AttemptKey(
        pipeline_id=one.pipeline_id,
        generation=one.generation,
        step_index=one.step_index,
        attempt=one.attempt,
    )
    whole = f"{key.pipeline_id}.g{key.generation}.s{key.step_index}"
    if (one.node_id, key, one.id) != (work.node_id, work.key, whole):
        raise InvalidRequest("`instance` is not of this node and this attempt")


E = TypeVar("E", bound=StrEnum)


def known(kind: type[E], text: str, what: str) -> E:
    try:
        return kind(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no {what}: {', '.join(kind)}") from None


def log_chunk(message: node_pb2.PushLogsRequest) -> LogChunk:
    """Raises `InvalidRequest` for what holds no line, or not what it says, and `LimitExceeded`."""
    check_limit("request", "a request of PushLogs", message.ByteSize(), LOG_REQUEST_BYTES)
    key, packed = attempt_key(message.key), message.packed
    if message.HasField("packed"):
        return check(
            LogChunk(
                key=key,
                first=packed.first,
                count=packed.count,
                last_at=moment(packed.last_at),
                data=packed.data,
                series=message.series,
                node_id=message.node_id,
            )
        )
    if not message.lines:
        raise InvalidRequest("a request of PushLogs holds at least one line")
    check_lines(line.text for line in message.lines)
    plain = LogChunk.of(key, [_line(line) for line in message.lines], message.series)
    return replace(plain, node_id=message.node_id)


def _line(line: log_pb2.LogLine) -> LogLine:
    return LogLine(
        number=line.number,
        at=moment(line.at),
        stream=_STREAMS.get(line.stream, LogStream.SYSTEM),
        text=line.text,
        continued=line.continued,
    )


def stop_order(order: StopOrder) -> node_pb2.StopOrder:
    return node_pb2.StopOrder(
        order_id=order.id,
        pipeline_id=order.pipeline_id,
        generation=order.generation,
        step_index=order.step_index,
        instance_id=order.instance_id,
    )


def line_message(line: LogLine) -> log_pb2.LogLine:
    at = Timestamp()
    at.FromDatetime(line.at)
    return log_pb2.LogLine(
        number=line.number,
        at=at,
        stream=_NUMBERS[line.stream],
        text=line.text,
        continued=line.continued,
    )


def moment(stamp: Timestamp) -> datetime:
    """Raises `InvalidRequest` for a time that no calendar has."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest("a time is out of range") from None
