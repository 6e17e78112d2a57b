"""A small fleet with a queue, served in memory by the turns of the store."""

from collections.abc import Mapping
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
        self.turns = self._turns()
        self._ids = count(1)

    def wait(self, asked: Need, name: str = "", **more: Any) -> str:
        """Another entry; later ones are younger."""
        number = next(self._ids)
        name = name or f"{asked.tenant}-{number}"
        at = self.now + timedelta(microseconds=number)
        self.lineup.put(Waiting(pipeline_id=name, queued_at=at), asked, **more)
        return name

    def run(self, name: str, node_id: str, asked: Need) -> None:
        """It holds what it asks for."""
        self.fleet.hold(
            Allocation(
                pipeline_id=name,
                generation=1,
                node_id=node_id,
                resources=asked.resources,
                gpu_devices=self.chooser.snapshot.fleet.devices.pick(
                    asked.resources.gpu, self.fleet.row_of[node_id]
                ),
                created_at=self.now,
                tenant=asked.tenant,
                template=asked.template,
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
            self.run(name, grant.choice.node_id, grant.line.need)
            granted.append(name)
        return granted

    def _turns(self) -> Turns:
        lines = self.lineup.lines()
        return Turns(lines, self.chooser, self.policy, now=self.now, labelled=self.labelled)

    def node_of(self, name: str) -> str:
        return self.fleet.held[name, 1].node_id

    @property
    def reserved(self) -> dict[str, str]:
        """Node by whom it is kept for in the last pass."""
        rows = self.turns.reservations
        return {one.kept.pipeline_id: one.kept.node_id for one in rows}
