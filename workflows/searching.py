"""Search attributes of a run, so that Temporal's lists can be filtered."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from gamepipe import searchattribute as keys
    from gamepipe.model.state import PipelineState
    from gamepipe.wire import PipelineStart, Placement


def show_placement(start: PipelineStart, placement: Placement) -> None:
    """One event says everything about a run that found its node."""
    workflow.upsert_search_attributes(
        [
            keys.NAME.value_set(start.spec.name),
            keys.STATE.value_set(PipelineState.RUNNING.value),
            keys.NODE.value_set(placement.node_id),
            keys.REGION.value_set(placement.node.get("region", "")),
            keys.TEMPLATE.value_set(start.spec.model),
            keys.TENANT.value_set(start.spec.tenant),
        ]
    )


def show_state(state: PipelineState) -> None:
    workflow.upsert_search_attributes([keys.STATE.value_set(state.value)])
