"""A fleet as plain values, to compare."""

from gamepipe.scheduling.fleet import Fleet


def picture(fleet: Fleet) -> dict[str, object]:
    rows = {
        priority: {row: dict(some) for row, some in by_row.items()}
        for priority, by_row in fleet.preemptibles._of.items()
    }
    return {
        "nodes": list(fleet.nodes),
        "held": dict(fleet.held),
        "total": fleet.total.tolist(),
        "left": fleet.left.tolist(),
        "pipelines": fleet.pipelines.tolist(),
        "undeclared": fleet.undeclared.tolist(),
        "shares": [[one.tolist() for one in fleet.devices.used]],
        "whole": [[one.tolist() for one in fleet.devices.whole]],
        "ports": {port: dict(some) for port, some in fleet.ports.items()},
        "groups": {group: dict(some) for group, some in fleet.groups.items()},
        "preemptible": rows,
        "leaving": dict(fleet.preemptibles.leaving),
    }
