"""`python -m bench.fairness`: three tenants with weights 1:2:4 flood the queue of a fleet.

Jobs take whole GPUs or shares of one, for varying lengths of virtual time; the order and the choice
are those of production. Of interest: what share of the GPU time each tenant gets, how long the
pipelines of a small tenant wait beside the flood, and whether a job for a whole node ever runs.
"""

import argparse
import heapq
import json
import random
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.simulation.service import Service

WEIGHTS = {"bronze": 1, "silver": 2, "gold": 4}
SMALL = "small"
"""A tenant that submits one job now and then, beside the flood."""
WHOLE = "whole node"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SHARES = (0.25, 0.5, 1.0)
TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Times are seconds of virtual time."""

    nodes: int = 50
    gpus_per_node: int = 8
    hours: float = 12.0
    mean_job_seconds: float = 600.0
    small_every_seconds: float = 300.0
    whole_at_seconds: float = 4 * 3600.0
    backlog: int = 200
    """Jobs that each flooding tenant keeps waiting."""
    reserve_after_seconds: float = 300.0
    seed: int = 1


@dataclass(kw_only=True)
class Report:
    gpu_shares: dict[str, float]
    """Of the GPU time of the three that flood, by tenant; the first hour is left out."""
    deviation: float
    """The largest relative distance of such a share from that of the weight."""
    utilization: float
    """GPU time that was sold, of all there was."""
    wait_seconds: dict[str, float]
    """Mean by tenant."""
    longest_small_wait_seconds: float
    whole_node_waits_seconds: list[float]
    placed: int
    passes: int


@dataclass(kw_only=True)
class _Job:
    tenant: str
    gpus: float
    seconds: float
    queued_at: float
    started_at: float = 0.0


@dataclass(kw_only=True)
class _Account:
    """What was sold, and who waited how long."""

    gpu_seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    waits: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    passes: int = 0


class World:
    """A fleet, its queue, and a clock that jumps from one end of a job to the next."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._chance = random.Random(scenario.seed)
        policy = OrderPolicy(
            tenant_weights=WEIGHTS,
            reserve_after=timedelta(seconds=scenario.reserve_after_seconds),
        )
        self._service = Service(Chooser(Snapshot(fleet=Fleet(_nodes(scenario)))), policy)
        self._jobs: dict[str, _Job] = {}
        self._waiting: dict[str, int] = defaultdict(int)
        self._events: list[tuple[float, int, str]] = []
        """(when, number, job that ends; or "small", "whole")"""
        self._number = 0
        self.account = _Account()

    def run(self) -> Report:
        scenario, end = self.scenario, self.scenario.hours * 3600
        self._at(scenario.small_every_seconds, SMALL)
        self._at(scenario.whole_at_seconds, WHOLE)
        self._flood(0.0)
        self._serve(0.0)
        while self._events and self._events[0][0] <= end:
            now, _, what = heapq.heappop(self._events)
            self._happen(now, what)
            self._flood(now)
            self._serve(now)
        return self._report()

    def _at(self, when: float, what: str) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, what))

    def _happen(self, now: float, what: str) -> None:
        match what:
            case "small":
                self._submit(SMALL, 0.5, now)
                self._at(now + self.scenario.small_every_seconds, SMALL)
            case "whole node":
                self._submit(WHOLE, self.scenario.gpus_per_node, now)
                self._submit("gold", self.scenario.gpus_per_node, now)
            case _:
                self._service.end(what)
                self._pay(self._jobs.pop(what), now)

    def _flood(self, now: float) -> None:
        for tenant in WEIGHTS:
            while self._waiting[tenant] < self.scenario.backlog:
                self._submit(tenant, self._chance.choice(SHARES), now)

    def _submit(self, tenant: str, gpus: float, now: float) -> None:
        self._number += 1
        name = f"{tenant}-{self._number}"
        seconds = self._chance.expovariate(1 / self.scenario.mean_job_seconds)
        self._jobs[name] = _Job(tenant=tenant, gpus=gpus, seconds=seconds, queued_at=now)
        queued_at = _time(now) + timedelta(microseconds=self._number % 1000)
        request = GpuRequest(count=int(gpus)) if gpus >= 1 else GpuRequest(share=gpus)
        resources = Resources(cpu=4 * gpus, memory_bytes=int(gpus * (16 << 30)), gpu=request)
        self._service.put(name, Need(resources=resources, tenant=tenant), at=queued_at)
        self._waiting[tenant] += 1

    def _serve(self, now: float) -> None:
        self.account.passes += 1
        for grant in self._service.serve(now=_time(now)):
            self._start(grant.waiting.pipeline_id, now)

    def _start(self, name: str, now: float) -> None:
        job = self._jobs[name]
        job.started_at = now
        kind = f"{WHOLE} of {job.tenant}" if job.gpus > 1 else job.tenant
        self.account.waits[kind].append(now - job.queued_at)
        self._waiting[job.tenant] -= 1
        self._at(now + job.seconds, name)

    def _pay(self, job: _Job, now: float) -> None:
        """The first hour fills the fleet: it is left out."""
        since = max(job.started_at, 3600.0)
        self.account.gpu_seconds[job.tenant] += job.gpus * max(now - since, 0.0)

    def _report(self) -> Report:
        end = self.scenario.hours * 3600
        for job in self._jobs.values():
            if job.started_at:
                self._pay(job, end)
        sold, waits = self.account.gpu_seconds, self.account.waits
        flood = sum(sold[tenant] for tenant in WEIGHTS)
        shares = {tenant: sold[tenant] / flood for tenant in WEIGHTS}
        fair = {tenant: weight / sum(WEIGHTS.values()) for tenant, weight in WEIGHTS.items()}
        there = self.scenario.nodes * self.scenario.gpus_per_node * (end - 3600)
        return Report(
            gpu_shares=shares,
            deviation=max(abs(shares[tenant] / fair[tenant] - 1) for tenant in WEIGHTS),
            utilization=sum(sold.values()) / there,
            wait_seconds={tenant: statistics.fmean(found) for tenant, found in waits.items()},
            longest_small_wait_seconds=max(waits[SMALL], default=0.0),
            whole_node_waits_seconds=[
                wait for kind, found in waits.items() if kind.startswith(WHOLE) for wait in found
            ],
            placed=sum(map(len, waits.values())),
            passes=self.account.passes,
        )


def _nodes(scenario: Scenario) -> Iterator[GameNode]:
    for number in range(scenario.nodes):
        gpus = tuple(
            GpuFacts(index=index, model="L4", memory_bytes=24 << 30)
            for index in range(scenario.gpus_per_node)
        )
        facts = NodeFacts(cpu=128, memory_bytes=1 << 40, disk_bytes=1 << 42, gpus=gpus)
        yield GameNode(id=f"node-{number:04}", facts=facts)


def _time(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def _show(report: Report) -> None:
    total = sum(WEIGHTS.values())
    print(f"{'tenant':<8} {'weight':>6} {'fair share':>11} {'GPU time':>9} {'mean wait':>11}")
    for tenant, weight in WEIGHTS.items():
        print(
            f"{tenant:<8} {weight:6} {weight / total:11.1%} {report.gpu_shares[tenant]:9.1%}"
            f" {report.wait_seconds[tenant]:9.0f} s"
        )
    print(f"largest deviation from the weights: {report.deviation:.1%} (at most {TOLERANCE:.0%})")
    print(
        f"small tenant beside the flood: mean wait {report.wait_seconds[SMALL]:.1f} s, "
        f"longest {report.longest_small_wait_seconds:.1f} s"
    )
    whole = ", ".join(f"{wait / 60:.0f} min" for wait in report.whole_node_waits_seconds)
    print(f"jobs for a whole node ran after: {whole or 'never'}")
    print(
        f"GPU time sold: {report.utilization:.1%}; {report.placed} placed in {report.passes} passes"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--nodes", type=int, default=Scenario.nodes)
    parser.add_argument("--hours", type=float, default=Scenario.hours, help="of virtual time")
    parser.add_argument("--seed", type=int, default=Scenario.seed)
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    options = parser.parse_args()
    scenario = Scenario(nodes=options.nodes, hours=options.hours, seed=options.seed)
    report = World(scenario).run()
    _show(report)
    if options.json:
        figures: dict[str, Any] = {"scenario": asdict(scenario), "report": asdict(report)}
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
