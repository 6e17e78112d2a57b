"""Names that templates and conditions may use: `args.X`, `steps['a step'].outputs.Y`, ..."""

import re
from dataclasses import dataclass

ROOTS = ("args", "envs", "secrets", "steps", "node", "pipeline")
NODE_FACTS = ("id", "alias", "region", "zone", "os", "architecture")
"""What `node.X` may name; the placement carries exactly these."""
PIPELINE_FACTS = ("id", "name", "tenant", "generation")
"""What `pipeline.X` may name."""
_BARE = re.compile(r"[\w-]+")
_SEGMENT = re.compile(
    r"""\s*\.\s*(?P<bare>[\w-]+)|\s*\[\s*(?:'(?P<one>[^']*)'|"(?P<two>[^"]*)")\s*\]"""
)


class ReferenceSyntax(ValueError):
    """A reference that cannot be read; `position` counts from 0 within the text."""

    def __init__(self, problem: str, remedy: str, position: int) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.remedy, self.position = problem, remedy, position


@dataclass(frozen=True, slots=True)
class Reference:
    """One name. For a step `name` is the step's and `output` "" means its state."""

    root: str
    name: str
    output: str = ""

    def __str__(self) -> str:
        if self.root != "steps":
            return f"{self.root}{_segment(self.name)}"
        tail = f".outputs{_segment(self.output)}" if self.output else ".state"
        return f"steps{_segment(self.name)}{tail}"


def _segment(name: str) -> str:
    if _BARE.fullmatch(name):
        return f".{name}"
    return f'["{name}"]' if "'" in name else f"['{name}']"


def read_path(text: str, start: int = 0) -> tuple[tuple[str, ...], int]:
    """The segments of a path that begins at `start`, and where it ends."""
    first = _BARE.match(text, start)
    if first is None:
        raise ReferenceSyntax("a name is missing", f"begin with one of {', '.join(ROOTS)}", start)
    names, end = [first.group()], first.end()
    while (segment := _SEGMENT.match(text, end)) is not None:
        names.append(next(name for name in segment.groups() if name is not None))
        end = segment.end()
    return tuple(names), end


def reference_of(names: tuple[str, ...], position: int = 0) -> Reference:
    """What a path means; raises `ReferenceSyntax` for one that means nothing."""
    match names:
        case ("args" | "envs" | "secrets" | "node" | "pipeline" as root, name):
            return Reference(root, name)
        case ("steps", step, "outputs", output) if output:
            return Reference("steps", step, output)
        case ("steps", step, "state"):
            return Reference("steps", step)
        case ("steps", *_):
            shapes = "steps.NAME.outputs.KEY or steps['a name'].outputs.KEY"
            raise ReferenceSyntax(
                "a step offers only its state and its outputs", f"write {shapes}", position
            )
        case (root, *_) if root in ROOTS:
            raise ReferenceSyntax(
                f"`{root}` needs exactly one name", f"write {root}.NAME", position
            )
    remedy = f"use one of {', '.join(ROOTS)}"
    raise ReferenceSyntax(f"unknown name `{names[0]}`", remedy, position)
