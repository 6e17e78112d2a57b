"""What simulations found, as JSON, and as rows of a table."""

import statistics
from collections.abc import Sequence
from typing import Any

from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.simulation.course import Course, Stay, count_by, quantile, rank_of, tenant_of
from gamepipe.simulation.fleet import TENANTS
from gamepipe.simulation.rank import Ranks
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
    policy: str, load: float, runs: Sequence[Course], order: OrderPolicy, ranks: Ranks | None = None
) -> dict[str, Any]:
    ranks = ranks or Ranks()
    return {
        "mode": "timeline",
        "policy": policy,
        "load": load,
        "weights": {tenant: order.weight(tenant) for tenant, _ in TENANTS},
        "urgent": ranks.urgent,
        "preemptible": ranks.preemptible,
        "preemption": order.preemption,
        "limits": order.limits.most,
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
        "still_waiting_by_class": run.unserved_by(rank_of),
        "wait_seconds": {tenant: _spread(waits) for tenant, waits in run.waits.items()},
        "wait_seconds_by_class": {
            rank: _spread(waits) for rank, waits in run.waits_by(rank_of).items()
        },
        "preempted": count_by(tenant_of, run.preempted),
        "preempted_by_class": count_by(rank_of, run.preempted),
        "lost_gpu_seconds": run.lost,
        "lost_percent": 100 * run.lost / max(run.gpu_seconds, 1e-9),
        "preemptions": [_preemption(stay) for stay in run.preempted],
        "curve": [
            [round(100 * point.arrived, 3), round(100 * point.allocated, 3)] for point in run.curve
        ],
    }


def _preemption(stay: Stay) -> dict[str, Any]:
    """Times are of the virtual clock."""
    need = stay.request.task.need
    return {
        "request": stay.request.id,
        "tenant": need.tenant,
        "template": need.template,
        "node": stay.node_id,
        "for": stay.preempted_for,
        "placed_at_seconds": stay.since,
        "left_at_seconds": stay.until,
        "lost_gpu_seconds": stay.lost,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    mean = statistics.fmean(values) if values else 0.0
    return {"mean": mean, "p50": quantile(values, 0.5), "p95": quantile(values, 0.95)}
