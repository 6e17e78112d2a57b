"""Which versions and features of the protocol this gateway speaks."""

from collections.abc import Iterable

from gamepipe.model.errors import ProtocolUnsupported

LOWEST = 1
HIGHEST = 1
PACE = "pace"
HEARTBEAT_TAKEN = "heartbeat_taken"
REPORT_METRICS = "report_metrics"
FEATURES = (PACE, HEARTBEAT_TAKEN, REPORT_METRICS)


def agreed(protocol: int) -> int:
    """The version that both speak. Raises `ProtocolUnsupported`."""
    if LOWEST <= protocol <= HIGHEST:
        return protocol
    spoken = f"{LOWEST}" if LOWEST == HIGHEST else f"{LOWEST} to {HIGHEST}"
    older = "agent" if protocol < LOWEST else "gateway"
    raise ProtocolUnsupported(
        f"the agent speaks protocol {protocol}, this gateway {spoken}: update the {older}",
        protocol=str(protocol),
        lowest=str(LOWEST),
        highest=str(HIGHEST),
    )


def shared(features: Iterable[str]) -> tuple[str, ...]:
    """Those that the gateway knows, too."""
    wanted = set(features)
    return tuple(name for name in FEATURES if name in wanted)
