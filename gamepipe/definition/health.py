"""The health check of a container, as in Compose."""

from typing import Any

from gamepipe.definition.kind import Flag, Number, Reader
from gamepipe.definition.long_form import TEXT, VALUE
from gamepipe.definition.shape import Either, Field, ListOf, Record
from gamepipe.definition.tree import Node
from gamepipe.definition.unit import Duration
from gamepipe.model.spec import Healthcheck


class _Shell:
    """A health check given as one text runs in a shell."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        text = TEXT.read(node, path, reader)
        return ("CMD-SHELL", text) if isinstance(text, str) else text

    def schema(self) -> dict[str, Any]:
        return TEXT.schema()


def _check_health(values: dict[str, Any], node: Node, path: str, reader: Reader) -> None:
    test = values.get("test")
    if test is None and not values.get("disable") and f"{path}.test" not in reader.places:
        reader.fail(node, f"{path}.test", "is missing", "add `test`, or `disable: true`")
    if isinstance(test, tuple):
        _check_test(test, path, reader)


def _check_test(test: tuple[str, ...], path: str, reader: Reader) -> None:
    heads = {"CMD": len(test) > 1, "CMD-SHELL": len(test) == 2, "NONE": len(test) == 1}
    if not test or not heads.get(test[0], False):
        remedy = "write `[CMD, program, ...]`, `[CMD-SHELL, line]`, `[NONE]`, or one text"
        reader.fail_at(f"{path}.test", "is not a health check", remedy)


def _build_health(values: dict[str, Any]) -> Healthcheck:
    test = ("NONE",) if values.get("disable") else values["test"]
    return Healthcheck(
        test=test,
        interval_seconds=values.get("interval"),
        timeout_seconds=values.get("timeout"),
        start_period_seconds=values.get("start_period"),
        retries=values.get("retries"),
    )


def _list(head: str, least: int, most: int | None) -> dict[str, Any]:
    bounds = {"minItems": least} | ({"maxItems": most} if most else {})
    return {"type": "array", "prefixItems": [{"const": head}], **bounds}


_TESTS = [_list("CMD", 2, None), _list("CMD-SHELL", 2, 2), _list("NONE", 1, 1)]
_IS_OFF = {"required": ["disable"], "properties": {"disable": {"const": True}}}

HEALTHCHECK = Record(
    fields={
        "test": Field(
            Either(what="a command", scalar=_Shell(), sequence=ListOf(item=VALUE)),
            "Command that exits with 0 while the container is healthy.",
        ),
        "interval": Field(Duration(), "Time between two checks."),
        "timeout": Field(Duration(), "Time after which a check counts as failed."),
        "start_period": Field(Duration(zero=True), "Time in which failures do not count."),
        "retries": Field(Number(low=1, high=1000, whole=True), "Failures until unhealthy."),
        "disable": Field(Flag(), "Switch off the image's own check."),
    },
    refused={"start_interval": "use `interval`"},
    check=_check_health,
    rules=(
        {"anyOf": [{"required": ["test"]}, _IS_OFF]},
        {"properties": {"test": {"anyOf": [{"type": "string"}, *_TESTS]}}},
    ),
    build=_build_health,
)
