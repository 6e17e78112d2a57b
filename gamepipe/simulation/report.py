"""What simulations found, as JSON, and as rows of a table."""

import statistics
from collections.abc import Sequence
from typing import Any

from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.simulation.course import Course, quantile
from gamepipe.simulation.fleet import TENANTS
from gamepipe.simulation.replay import Replay


def replay_report(policy: str, arrivals: float, runs: Sequence[Replay]) -> dict[str, Any]:
    """Shares in percent of all GPUs."""
    shares = [100 * run.allocated for run in runs]
    return {
        "mode": "replay",
        "policy": policy,
        "arrivals": arrivals,
        "allocated_percent": statistics.fmean(shares),
        "deviation_percent": statistics.stdev(shares) if len(shares) > 1 else 0.0,
        "runs": [
            {
                "seed": run.seed,
                "tasks": run.tasks,
                "dropped": run.dropped,
                "allocated_percent": 100 * run.allocated,
                "curve": [
                    [round(100 * point.arrived, 3), round(100 * point.allocated, 3)]
                    for point in run.curve
                ],
            }
            for run in runs
        ],
    }


def course_report(
    policy: str, load: float, runs: Sequence[Course], order: OrderPolicy
) -> dict[str, Any]:
    return {
        "mode": "timeline",
        "policy": policy,
        "load": load,
        "weights": {tenant: order.weight(tenant) for tenant, _ in TENANTS},
        "allocated_percent": statistics.fmean(100 * run.allocated for run in runs),
        "runs": [_course(run) for run in runs],
    }


def _course(run: Course) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "requests": len(run.placed) + len(run.waiting),
        "placed": len(run.placed),
        "waiting": len(run.waiting),
        "virtual_seconds": run.seconds,
        "allocated_percent": 100 * run.allocated,
        "latency_ms": _spread(run.latencies),
        "still_waiting": run.unserved,
        "wait_seconds": {tenant: _spread(waits) for tenant, waits in run.waits.items()},
        "curve": [
            [round(100 * point.arrived, 3), round(100 * point.allocated, 3)] for point in run.curve
        ],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    mean = statistics.fmean(values) if values else 0.0
    return {"mean": mean, "p50": quantile(values, 0.5), "p95": quantile(values, 0.95)}
