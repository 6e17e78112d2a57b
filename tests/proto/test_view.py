"""gRPC shows of a pipeline what REST shows: by the same names."""

import pytest
from google.protobuf.descriptor import Descriptor
from pydantic import BaseModel

from gamepipe.v1 import pipeline_pb2 as pb
from gateway.view import EventView, PipelineView, ProgressView, StepView


@pytest.mark.parametrize(
    ("view", "message", "only_rest"),
    [
        (PipelineView, pb.Pipeline.DESCRIPTOR, set()),
        (StepView, pb.StepStatus.DESCRIPTOR, set()),
        (ProgressView, pb.Progress.DESCRIPTOR, set()),
        (EventView, pb.Event.DESCRIPTOR, {"number"}),
    ],
)
def test_a_message_shows_what_its_view_shows(
    view: type[BaseModel], message: Descriptor, only_rest: set[str]
) -> None:
    assert set(view.model_fields) - only_rest == set(message.fields_by_name)
