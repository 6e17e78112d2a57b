"""A small fleet with a queue, served in memory by the turns of the store."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

from gamepipe.model.node import GameNode, GpuFacts, NodeFacts
from gamepipe.model.record import Allocation
from gamepipe.model.spec import GpuRequest, Resources
from gamepipe.scheduling.choose import Chooser
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.limit import Label
from gamepipe.scheduling.lineup import Lineup
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Turns, Waiting
from gamepipe.scheduling.order_policy import OrderPolicy
from gamepipe.scheduling.preemption import Claim
from gamepipe.scheduling.snapshot import Snapshot
from tests.store.conftest import NOW


def node(node_id: str, *, cpu: float = 8, gpus: int = 0) -> GameNode:
    cards = tuple(GpuFacts(index=i, model="L4", memory_bytes=24 << 30) for i in range(gpus))
    facts = NodeFacts(cpu=cpu, memory_bytes=1 << 36, disk_bytes=1 << 40, gpus=cards)
    return GameNode(id=node_id, facts=facts)


def need(tenant: str = "default", *, cpu: float = 1.0, gpus: int = 0, **more: Any) -> Need:
    resources = Resources(cpu=cpu, gpu=GpuRequest(count=gpus))
    return Need(resources=resources, tenant=tenant, **more)


class Queueing:
    """Who waits, and where each runs."""

    def __init__(self, *nodes: GameNode, **policy: Any) -> None:
        self.fleet = Fleet(nodes)
        self.chooser = Chooser(Snapshot(fleet=self.fleet))
        self.lineup = Lineup()
        self.policy = OrderPolicy(**policy)
        self.now = NOW
        self.labelled: Mapping[Label, int] = {}
        self.claims: dict[str, Claim] = {}
        self._waits: dict[str, Claim] = {}
        self.turns = self._turns()
        self._ids = count(1)

    def wait(self, asked: Need, name: str = "", **more: Any) -> str:
        """Another entry; later ones are younger."""
        number = next(self._ids)
        name = name or f"{asked.tenant}-{number}"
        at = self.now + timedelta(microseconds=number)
        self.lineup.put(Waiting(pipeline_id=name, queued_at=at), asked, **more)
        self._waits[name] = Claim(
            pipeline_id=name, generation=1, priority=more.get("priority", 0), need=asked
        )
        return name

    def run(
        self,
        name: str,
        node_id: str,
        asked: Need,
        devices: tuple[int, ...] | None = None,
        **more: Any,
    ) -> None:
        """It holds what it asks for."""
        self.fleet.hold(
            Allocation(
                pipeline_id=name,
                generation=1,
                node_id=node_id,
                resources=asked.resources,
                gpu_devices=self.fleet.devices.pick(asked.resources.gpu, self.fleet.row_of[node_id])
                if devices is None
                else devices,
                created_at=self.now,
                tenant=asked.tenant,
                template=asked.template,
                taken_at=self.now,
                **more,
            )
        )

    def end(self, name: str) -> None:
        self.fleet.free(name, 1)

    def serve(self) -> list[str]:
        """One pass: who was granted a node, in order."""
        self.turns.lift()
        self.turns = self._turns()
        granted = []
        for grant in self.turns:
            name = grant.waiting.pipeline_id
            self.claims.pop(name, None)
            self.run(name, grant.choice.node_id, grant.line.need, grant.choice.gpu_devices)
            granted.append(name)
        for preemption in self.turns.preemptions:
            name = preemption.pipeline_id
            node_id = self.node_of(preemption.victims[0][0])
            self.claims[name] = replace(self._waits[name], node_id=node_id)
        return granted

    def _turns(self) -> Turns:
        return Turns(
            self.lineup.lines(),
            self.chooser,
            self.policy,
            now=self.now,
            labelled=self.labelled,
            claims=self.claims.values(),
        )

    @property
    def leaving(self) -> dict[str, str]:
        """Those that were asked to make room, and for whom."""
        leaving = self.fleet.preemptibles.leaving.values()
        return {one.pipeline_id: one.preempted_for for one in leaving}

    def node_of(self, name: str) -> str:
        return self.fleet.held[name, 1].node_id

    @property
    def reserved(self) -> dict[str, str]:
        """Node by whom it is kept for in the last pass."""
        rows = self.turns.reservations
        return {one.kept.pipeline_id: one.kept.node_id for one in rows}
