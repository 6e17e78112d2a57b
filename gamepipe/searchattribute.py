"""Search attributes of a pipeline's workflow: all keywords, so that lists filter on them."""

from typing import Final

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from gamepipe.model.spec import PipelineSpec
from gamepipe.model.state import PipelineState

NAME: Final = SearchAttributeKey.for_keyword("GamePipeName")
STATE: Final = SearchAttributeKey.for_keyword("GamePipeState")
NODE: Final = SearchAttributeKey.for_keyword("GamePipeNode")
REGION: Final = SearchAttributeKey.for_keyword("GamePipeRegion")
TEMPLATE: Final = SearchAttributeKey.for_keyword("GamePipeTemplate")
TENANT: Final = SearchAttributeKey.for_keyword("GamePipeTenant")

ALL: Final = (NAME, STATE, NODE, REGION, TEMPLATE, TENANT)


def of_start(spec: PipelineSpec) -> TypedSearchAttributes:
    """What a list can say of a pipeline before it has a node; it asks for one at once."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(NAME, spec.name),
            SearchAttributePair(STATE, PipelineState.PENDING.value),
            SearchAttributePair(TEMPLATE, spec.model),
            SearchAttributePair(TENANT, spec.tenant),
        ]
    )
