"""Small pipelines, nodes and requests for the store's tests."""

from dataclasses import replace
from typing import Any

from gamepipe.model.node import GpuFacts, NodeFacts
from gamepipe.model.record import EventKind, NewPipeline, PipelineEvent, Progress, StepRecord
from gamepipe.model.spec import GpuRequest, Parameter, PipelineSpec, Resources, Step, StepType
from gamepipe.model.state import PipelineState
from gamepipe.ports import Registration
from gamepipe.wire import PlaceRequest, SaveRequest
from tests.store.conftest import NOW

RUN = "run-1"
LIFE = "life-1"
"""The incarnation of every pipeline here."""


def spec(name: str = "start", *, gpus: int = 0, cpu: float = 1.0, **changes: Any) -> PipelineSpec:
    steps = tuple(
        Step(index=index, name=step, type=StepType.COMMAND, command="echo ${{ envs.USER }}")
        for index, step in enumerate(("fetch", "unpack"))
    )
    resources = Resources(cpu=cpu, gpu=GpuRequest(count=gpus))
    plain = PipelineSpec(
        name=name, steps=steps, envs=(Parameter(name="USER"),), resources=resources
    )
    return replace(plain, **changes)


def new(pipeline_id: str, **changes: Any) -> NewPipeline:
    return NewPipeline(
        id=pipeline_id,
        spec=spec(**changes),
        envs={"USER": "alice", "UNUSED": "x"},
        secrets={"TOKEN": "s3cret"},
        incarnation=LIFE,
        content_digest=f"digest of {sorted(changes.items())}",
    )


def registration(node_id: str, *, cpu: float = 8, gpus: int = 0, **changes: Any) -> Registration:
    devices = tuple(GpuFacts(index=i, model="T4", memory_bytes=16 << 30) for i in range(gpus))
    facts = NodeFacts(
        cpu=cpu,
        memory_bytes=1 << 36,
        disk_bytes=1 << 40,
        gpus=devices,
        features=("command", "container"),
    )
    return Registration(node_id=node_id, facts=facts, **changes)


def save_request(
    pipeline_id: str, revision: int, state: PipelineState, **changes: Any
) -> SaveRequest:
    plain = SaveRequest(
        pipeline_id=pipeline_id,
        incarnation=LIFE,
        run_id=RUN,
        revision=revision,
        state=state,
        generation=1,
        progress=Progress(total=2),
        events=(event(revision),),
    )
    return replace(plain, **changes)


def event(number: int, kind: EventKind = EventKind.PIPELINE_STATE_CHANGED) -> PipelineEvent:
    return PipelineEvent(number=number, kind=kind, at=NOW, data={"number": number})


def step(index: int, **changes: Any) -> StepRecord:
    return StepRecord(index=index, name=("fetch", "unpack")[index], **changes)


def place_request(pipeline_id: str, *, revision: int = 1, **changes: Any) -> PlaceRequest:
    plain = PlaceRequest(
        pipeline_id=pipeline_id,
        generation=1,
        run_id=RUN,
        definition_revision=1,
        saved=save_request(pipeline_id, revision, PipelineState.PENDING),
        placed=save_request(pipeline_id, revision + 1, PipelineState.RUNNING),
    )
    return replace(plain, **changes)
