"""Whether a node can take a pipeline, and if not, the first thing that stands in the way."""

from collections.abc import Callable, Iterator, Sequence

from gamepipe.model.gpu import ALL
from gamepipe.model.node import GameNode, GpuFacts
from gamepipe.model.record import Verdict
from gamepipe.model.spec import GpuRequest, Match
from gamepipe.model.state import Connectivity, NodeState
from gamepipe.scheduling.fleet import NodeUse
from gamepipe.scheduling.need import Need

GIB = 1 << 30


def obstacle(need: Need, use: NodeUse) -> Verdict | None:
    """The first reason why not, in the order in which people would ask; None: it fits."""
    for rule in _RULES:
        for code, message in rule(need, use):
            return Verdict(node_id=use.node.id, code=code, message=message)
    return None


def takes_pipelines(node: GameNode) -> bool:
    """Whether the node takes anything new at all."""
    return closed_by(node) is None


def closed_by(node: GameNode) -> Verdict | None:
    """Why the node takes nothing new, whatever it is; None: it takes what fits."""
    for code, message in _state(Need(), NodeUse(node=node)):
        return Verdict(node_id=node.id, code=code, message=message)
    return None


Objections = Iterator[tuple[str, str]]


def _state(_: Need, use: NodeUse) -> Objections:
    node = use.node
    if node.state is not NodeState.NORMAL:
        yield "NODE_NOT_NORMAL", f"is in state {node.state}"
    if node.connectivity is not Connectivity.ONLINE:
        yield "NODE_NOT_ONLINE", f"is {node.connectivity}"
    if node.stop_orders:
        remedy = "its agent goes on trying; its log says what is in the way"
        yield "STOP_UNCONFIRMED", f"has not confirmed {node.stop_orders} stop order(s): {remedy}"
    if node.unaccounted:
        remedy = "its agent says so once Docker answers there; start Docker"
        told = f"has not said yet how {node.unaccounted} instance(s) are: {remedy}"
        yield "INSTANCES_UNACCOUNTED", told


def _place(need: Need, use: NodeUse) -> Objections:
    wanted, node = need.placement, use.node
    if wanted.node not in ("", node.id):
        yield "NODE_PINNED", f"placement.node asks for {wanted.node}"
    for key in ("region", "zone"):
        asked, there = getattr(wanted, key), getattr(node.location, key)
        if asked not in ("", there):
            yield f"{key.upper()}_DIFFERS", f"is in {key} {there or 'unknown'}, not {asked}"


def _matches(need: Need, use: NodeUse) -> Objections:
    for match in need.placement.match:
        if not _holds(match, use.node):
            yield "MATCH_FAILED", f"does not match {_shown(match)}"
    for match in need.placement.forbid:
        if _holds(match, use.node):
            yield "FORBIDDEN", f"is forbidden by {_shown(match)}"


def _features(need: Need, use: NodeUse) -> Objections:
    for feature in sorted(need.features - set(use.node.facts.features)):
        remedy = {
            "command": "its agent was started without --allow-commands",
            "container": "its agent finds no Docker engine; start Docker there",
        }.get(feature, "its agent lacks it")
        yield "FEATURE_MISSING", f"runs no {feature} steps: {remedy}"


def _amounts(need: Need, use: NodeUse) -> Objections:
    wanted = need.resources
    if wanted.cpu > use.cpu_free + 1e-9:
        yield "CPU_SHORT", f"has {use.cpu_free:g} of {wanted.cpu:g} cores free"
    for code, asked, free in (
        ("MEMORY_SHORT", wanted.memory_bytes, use.memory_free),
        ("DISK_SHORT", wanted.disk_bytes, use.disk_free),
    ):
        if asked > free:
            kind = code.removesuffix("_SHORT").lower()
            yield code, f"has {free / GIB:.1f} of {asked / GIB:.1f} GiB {kind} free"
    taken = sorted(set(need.host_ports) & use.ports)
    if taken:
        yield "PORT_TAKEN", f"has host port {', '.join(taken)} in use"


def _gpu(need: Need, use: NodeUse) -> Objections:
    request = need.resources.gpu
    if request.is_empty or pick_devices(request, use) is not None:
        return
    gpus = _suitable(request, use.node.facts.gpus)
    if not gpus:
        wanted = f" of model {', '.join(request.models)}" if request.models else ""
        yield "GPU_SHORT", f"has no GPU{wanted}"
    elif request.count:
        free, count = len(_free(request, use)), _count(request, use)
        every = ", and all are asked for" if request.count == ALL else ""
        yield "GPU_SHORT", f"has {free} of {count} GPU(s) free{every}"
    else:
        yield "GPU_SHORT", "has no GPU with enough of it left" + _unknown(request, gpus)


def _unknown(request: GpuRequest, gpus: Sequence[GpuFacts]) -> str:
    """What nobody counted is not shared out."""
    for asked, fact, what in (
        (request.encoders, "encoders", "NVENC sessions"),
        (request.vram_bytes, "memory_bytes", "memory"),
    ):
        models = ", ".join(dict.fromkeys(gpu.model for gpu in gpus if not getattr(gpu, fact)))
        if asked and models:
            remedy = f"declare `{fact}` of `gpus` with --facts"
            return f" ({what} of {models}: unknown, or none; {remedy})"
    return ""


_RULES: tuple[Callable[[Need, NodeUse], Objections], ...] = (
    _state,
    _place,
    _matches,
    _features,
    _amounts,
    _gpu,
)


def pick_devices(request: GpuRequest, use: NodeUse) -> tuple[int, ...] | None:
    """Devices for the request: whole free ones, or the fullest that still has the share."""
    if request.is_empty:
        return ()
    if request.count:
        free, count = _free(request, use), _count(request, use)
        return tuple(free[:count]) if len(free) >= count else None
    uses = use.device_uses()
    fitting = [
        gpu for gpu in _suitable(request, use.node.facts.gpus) if uses[gpu.index].fits(request, gpu)
    ]
    if not fitting:
        return None
    fullest = max(
        fitting,
        key=lambda gpu: (uses[gpu.index].share, uses[gpu.index].vram_bytes, -gpu.index),
    )
    return (fullest.index,)


def _count(request: GpuRequest, use: NodeUse) -> int:
    """Whole devices that the request wants of this node."""
    if request.count == ALL:
        return max(len(_suitable(request, use.node.facts.gpus)), 1)
    return request.count


def _free(request: GpuRequest, use: NodeUse) -> list[int]:
    uses = use.device_uses()
    gpus = _suitable(request, use.node.facts.gpus)
    return [gpu.index for gpu in gpus if uses[gpu.index].is_free]


def _suitable(request: GpuRequest, gpus: Sequence[GpuFacts]) -> list[GpuFacts]:
    return [
        gpu
        for gpu in gpus
        if not request.models or any(m.lower() in gpu.model.lower() for m in request.models)
    ]


def _holds(match: Match, node: GameNode) -> bool:
    value = _label(match.key, node)
    match match.op:
        case "exists":
            return value is not None
        case "not exists":
            return value is None
        case "in":
            return value in match.values
        case "not in":
            return value not in match.values
        case ">" | "<":
            return _compares(value, match.op, match.values)
    raise ValueError(f"unknown operator {match.op!r}")


def _compares(value: str | None, op: str, values: Sequence[str]) -> bool:
    try:
        left, right = float(value or ""), float(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if op == ">" else left < right


def _label(key: str, node: GameNode) -> str | None:
    """A label; `os`, `architecture`, `kernel`, `region`, `zone` and `id` name facts."""
    if key in node.labels:
        return node.labels[key]
    facts = {
        "id": node.id,
        "os": node.facts.os,
        "kernel": node.facts.kernel,
        "architecture": node.facts.architecture,
        "region": node.location.region,
        "zone": node.location.zone,
    }
    return facts.get(key) or None


def _shown(match: Match) -> str:
    return f"{match.key} {match.op} {', '.join(match.values)}".strip()
