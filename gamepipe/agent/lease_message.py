"""What is said of a lease on the stream."""

from google.protobuf.timestamp_pb2 import Timestamp

from gamepipe.agent.lease import Lease
from gamepipe.v1 import node_pb2
from gamepipe.wire import StepReport
from gamepipe.wire.message import key_message


def beat_of(lease: Lease) -> node_pb2.WorkBeat:
    return node_pb2.WorkBeat(task_token=lease.token, key=key_message(lease.key))


def reported(lease: Lease, news: StepReport) -> node_pb2.ConnectRequest:
    at = Timestamp()
    at.FromDatetime(news.at)
    return node_pb2.ConnectRequest(
        step_reported=node_pb2.StepReported(
            task_token=lease.token,
            key=key_message(lease.key),
            kind=news.kind.value,
            at=at,
            percent=news.percent,
            message=news.message,
            outputs=news.outputs,
        )
    )
