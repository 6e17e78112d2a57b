"""Reads a pipeline file: every mistake at once, each with its place, or a `PipelineSpec`."""

from typing import Any

from gamepipe.definition.codec import encode_text
from gamepipe.definition.demand import check_gpu, with_gpu
from gamepipe.definition.document import DOCUMENT
from gamepipe.definition.kind import MAX_MISTAKES, Reader, TooManyMistakes, is_null
from gamepipe.definition.source import MAX_BYTES, SourceError, read_source
from gamepipe.definition.step import StepDraft
from gamepipe.definition.tree import Node
from gamepipe.definition.wiring import Declared, Wiring, check_references, wire
from gamepipe.model.errors import InvalidPipeline, Mistake
from gamepipe.model.spec import PipelineSpec

MAX_SPEC_BYTES = 3 * MAX_BYTES // 2
"""Of the spec as JSON: with its args it must fit into one payload of Temporal (2 MiB)."""
_ROOTS = ("args", "envs", "secrets")


def parse_pipeline(text: str | bytes, *, file: str = "") -> PipelineSpec:
    """Read a pipeline file, YAML or JSON.

    Args:
        text: the file's content; bytes must be UTF-8.
        file: its name, for messages.

    Raises:
        InvalidPipeline: with every mistake in the order of the file (at most 200), each with
            line and column from 1, path, problem and remedy.
    """
    reader = Reader(file=file)
    try:
        spec = _read(read_source(_decoded(text)), reader)
    except SourceError as error:
        mistake = Mistake(
            path="",
            problem=error.problem,
            remedy=error.remedy,
            file=file,
            line=error.line,
            column=error.column,
        )
        raise InvalidPipeline([mistake]) from None
    except TooManyMistakes:
        spec = None
    if spec is None:
        raise InvalidPipeline(_ordered(reader.mistakes))
    return spec


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        return text.decode("latin-1")  # too large whatever it says; `read_source` refuses it
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8", errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise SourceError("this is not UTF-8 text", "save it as UTF-8", line, column) from None


def _ordered(mistakes: list[Mistake]) -> list[Mistake]:
    ordered = sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column))
    if len(ordered) >= MAX_MISTAKES:
        problem = f"the file holds more than the {MAX_MISTAKES} mistakes shown"
        ordered.append(Mistake(path="", problem=problem, remedy="mend these first"))
    return ordered


def _read(root: Node, reader: Reader) -> PipelineSpec | None:
    """None when there are mistakes."""
    values = DOCUMENT.read(root, "", reader)
    if not isinstance(values, dict):
        return None
    drafts: tuple[StepDraft, ...] = values.get("steps", ())
    wiring = wire(drafts, reader)
    check_references(drafts, wiring, _declared(values, reader), reader)
    if reader.mistakes:
        return None
    spec = _build(values, drafts, wiring)
    check_gpu(spec, reader)
    if "resources.gpu" not in reader.places:
        spec = with_gpu(spec)
    _check_size(spec, root, reader)
    return None if reader.mistakes else spec


def _declared(values: dict[str, Any], reader: Reader) -> Declared:
    names: dict[str, frozenset[str] | None] = {}
    for root in _ROOTS:
        written = reader.places.get(root)
        is_broken = written is not None and not is_null(written) and root not in values
        known = frozenset(item.name for item in values.get(root, ()))
        names[root] = None if is_broken else known
    return Declared(names=names)


def _build(values: dict[str, Any], drafts: tuple[StepDraft, ...], wiring: Wiring) -> PipelineSpec:
    parts = zip(drafts, wiring.names, wiring.needs, strict=True)
    steps = tuple(
        draft.build(index, name, needs) for index, (draft, name, needs) in enumerate(parts)
    )
    return PipelineSpec(**{**values, "steps": steps})


def _check_size(spec: PipelineSpec, root: Node, reader: Reader) -> None:
    size = len(encode_text(spec))
    if size > MAX_SPEC_BYTES:
        problem = f"takes {size >> 10} KiB once aliases are filled in"
        remedy = f"keep it within {MAX_SPEC_BYTES >> 10} KiB: put long scripts into an image"
        reader.fail(root, "", problem, remedy)
