"""How many pipelines may run at a time of one tenant, of one template, with one label's value."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gamepipe.scheduling.need import Need

EVERY = "*"
"""The name that stands for all those that are not named."""
LABEL = "label:"
Label = tuple[str, str]
"""Key and value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """By kind (`tenant`, `template`, `label:KEY`) and name the most that may be placed."""

    most: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def label_keys(self) -> tuple[str, ...]:
        """Keys of the labels that are limited, in order."""
        return tuple(sorted(kind[len(LABEL) :] for kind in self.most if kind.startswith(LABEL)))

    def of(self, kind: str, name: str) -> int | None:
        named = self.most.get(kind, {})
        return named.get(name, named.get(EVERY))

    def over(self, kinds: Iterator[tuple[str, str, int]]) -> str:
        """What to say of the first (kind, name, number placed) that has reached its limit."""
        for kind, name, placed in kinds:
            most = self.of(kind, name)
            if most is not None and placed >= most:
                what = kind.replace(LABEL, "label ")
                joined = "=" if kind.startswith(LABEL) else " "
                return f"{what}{joined}{name} has {placed} of at most {most} pipelines"
        return ""


def kinds_of(need: Need, labels: tuple[Label, ...]) -> Iterator[tuple[str, str]]:
    """All that may limit a pipeline with this need and these labels."""
    yield "tenant", need.tenant
    yield "template", need.template
    for key, value in labels:
        yield f"{LABEL}{key}", value
