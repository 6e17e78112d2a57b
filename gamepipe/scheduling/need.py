"""What a pipeline needs of a node, read from its spec."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gamepipe.model.interpolation import render_text
from gamepipe.model.reference import Reference
from gamepipe.model.spec import PipelineSpec, PlacementRequest, Port, Resources, StepType


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """Everything that a placement must satisfy."""

    resources: Resources = field(default_factory=Resources)
    placement: PlacementRequest = field(default_factory=PlacementRequest)
    features: frozenset[str] = frozenset()
    """What the agent must be able to run: `command`, `container`."""
    host_ports: tuple[str, ...] = ()
    """`tcp/8080`."""
    avoid: tuple[str, ...] = ()
    """Nodes that lost an earlier generation: chosen only when nothing else fits."""


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
        avoid=avoid,
    )


class _Unknown(Exception):
    """The port is known only on the node (an env): its engine will say whether it is taken."""


def _host_ports(spec: PipelineSpec, args: Mapping[str, str]) -> Iterable[str]:
    for step in spec.steps:
        for port in step.container.ports if step.container else ():
            number = _host_port(port, args)
            if number:
                yield f"{port.protocol}/{number}"


def _host_port(port: Port, args: Mapping[str, str]) -> str:
    def value_of(reference: Reference) -> str:
        if reference.root != "args" or reference.name not in args:
            raise _Unknown
        return args[reference.name]

    try:
        return render_text(port.host, value_of)
    except _Unknown:
        return ""
