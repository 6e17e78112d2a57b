"""Values of envs and secrets: written with a pipeline, read only for the node that needs them."""

from collections.abc import Mapping

from sqlmodel import Session, col, delete, select

from gamepipe.model.errors import Forbidden
from gamepipe.model.interpolation import references
from store.table import AllocationRow, PipelineRow, PipelineValueRow, StepRow
from store.transaction import Transaction

ENV = "env"
SECRET = "secret"  # noqa: S105 - the name of a kind, not a secret


def put_values(tx: Transaction, pipeline_id: str, kind: str, values: Mapping[str, str]) -> None:
    """Replace all values of a kind."""
    tx.session.connection().execute(
        delete(PipelineValueRow).where(
            col(PipelineValueRow.pipeline_id) == pipeline_id, col(PipelineValueRow.kind) == kind
        )
    )
    tx.session.add_all(
        PipelineValueRow(pipeline_id=pipeline_id, kind=kind, name=name, value=value)
        for name, value in values.items()
    )


def step_values(
    session: Session, row: PipelineRow, step: tuple[int, int, int], node_id: str
) -> tuple[dict[str, str], dict[str, str]]:
    """(envs, secrets) that a step (generation, index, attempt) names; raises `Forbidden` for any
    other node, and for an attempt that a newer one has replaced."""
    generation, step_index, attempt = step
    held = session.get(AllocationRow, (row.id, generation))
    if held is None or held.released_at is not None or held.node_id != node_id:
        raise Forbidden(
            f"node {node_id} does not hold generation {generation} of pipeline {row.id}",
            node_id=node_id,
            pipeline_id=row.id,
        )
    if not 0 <= step_index < len(row.spec.steps):
        raise Forbidden(f"pipeline {row.id} has no step number {step_index}")
    known = session.get(StepRow, (row.id, generation, step_index))
    if known is not None and known.attempt > attempt:
        raise Forbidden(f"attempt {attempt} of step {known.name!r} is over: {known.attempt} runs")
    named = references(row.spec.steps[step_index])
    return (
        _values(session, row.id, ENV, named.envs),
        _values(session, row.id, SECRET, named.secrets),
    )


def _values(session: Session, pipeline_id: str, kind: str, names: frozenset[str]) -> dict[str, str]:
    query = select(PipelineValueRow.name, PipelineValueRow.value).where(
        PipelineValueRow.pipeline_id == pipeline_id,
        PipelineValueRow.kind == kind,
        col(PipelineValueRow.name).in_(names),
    )
    return {name: value for name, value in session.exec(query)}  # noqa: C416 - typed so
