"""Search attributes of a pipeline's workflow: all keywords, so that lists filter on them."""

from typing import Final

from temporalio.common import SearchAttributeKey

NAME: Final = SearchAttributeKey.for_keyword("GamePipeName")
STATE: Final = SearchAttributeKey.for_keyword("GamePipeState")
NODE: Final = SearchAttributeKey.for_keyword("GamePipeNode")
REGION: Final = SearchAttributeKey.for_keyword("GamePipeRegion")
TEMPLATE: Final = SearchAttributeKey.for_keyword("GamePipeTemplate")
TENANT: Final = SearchAttributeKey.for_keyword("GamePipeTenant")

ALL: Final = (NAME, STATE, NODE, REGION, TEMPLATE, TENANT)
