"""What a pipeline needs of a node, read from its spec."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gamepipe.model.interpolation import render_text
from gamepipe.model.reference import Reference
from gamepipe.model.spec import PipelineSpec, PlacementRequest, Resources, StepType


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Everything that a placement must satisfy."""

    resources: Resources = field(default_factory=Resources)
    placement: PlacementRequest = field(default_factory=PlacementRequest)
    features: frozenset[str] = frozenset()
    """What the agent must be able to run: `command`, `container`."""
    host_ports: tuple[str, ...] = ()
    """`tcp/8080`."""
    images: tuple[str, ...] = ()
    """Container images that the node must have before the game starts."""
    tenant: str = "default"
    template: str = ""
    avoid: tuple[str, ...] = ()
    """Nodes that lost an earlier generation: chosen only when nothing else fits."""

    @property
    def group(self) -> str:
        """Whose pipelines `placement.spread` spreads."""
        return self.tenant if self.placement.spread_by == "tenant" else self.template


def need_of(spec: PipelineSpec, args: Mapping[str, str], *, avoid: tuple[str, ...] = ()) -> Need:
    """What `spec` needs with these args."""
    kinds = {step.type for step in spec.steps}
    features = {"command"} if StepType.COMMAND in kinds else set()
    if kinds - {StepType.COMMAND}:
        features.add("container")
    return Need(
        resources=spec.resources,
        placement=spec.placement,
        features=frozenset(features),
        host_ports=tuple(sorted(set(_host_ports(spec, args)))),
        images=tuple(sorted(set(_images(spec, args)))),
        tenant=spec.tenant,
        template=spec.model or spec.name,
        avoid=avoid,
    )


class _Unknown(Exception):
    """It is known only on the node (an env, an output)."""


def _host_ports(spec: PipelineSpec, args: Mapping[str, str]) -> Iterable[str]:
    """Of a port that is not known yet its engine will say whether it is taken."""
    for step in spec.steps:
        for port in step.container.ports if step.container else ():
            number = _rendered(port.host, args)
            if number:
                yield f"{port.protocol}/{number}"


def _images(spec: PipelineSpec, args: Mapping[str, str]) -> Iterable[str]:
    for step in spec.steps:
        image = _rendered(step.container.image, args) if step.container else ""
        if image:
            yield image


def _rendered(text: str, args: Mapping[str, str]) -> str:
    """Empty where it is not known yet."""

    def value_of(reference: Reference) -> str:
        if reference.root != "args" or reference.name not in args:
            raise _Unknown
        return args[reference.name]

    try:
        return render_text(text, value_of)
    except _Unknown:
        return ""


def kind_of(need: Need) -> Need:
    """What decides alone whether it fits, so that what does not is found out once."""
    if need.placement.spread:
        return need
    return replace(need, tenant="", template="", avoid=(), images=())
