"""Preemption within one pass over the queue: who was asked to make room, and for whom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gamepipe.model.record import Allocation
from gamepipe.scheduling.fleet import Fleet
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.preempt import Clearing, awaited, clear, room_on
from gamepipe.scheduling.preemptible import Key
from gamepipe.scheduling.reservation import Reservation, Reservations, keep
from gamepipe.scheduling.snapshot import Snapshot

NAMED = 5
"""As many of those that make room are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A pipeline that waits, and for which room is made on a node, if one is named."""

    pipeline_id: str
    generation: int
    priority: int
    need: Need
    node_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preemption:
    """Pipelines that are to make room."""

    pipeline_id: str
    """For whom."""
    victims: tuple[Key, ...]


def rooms(fleet: Fleet, vacated: Mapping[str, str]) -> dict[str, str]:
    """The node on which others make room, or just have made it (`vacated`), by the id of the
    pipeline for which they do."""
    leaving = sorted(fleet.preemptibles.leaving.values(), key=_when_asked)
    return {one.preempted_for: one.node_id for one in leaving} | dict(vacated)


def _when_asked(one: Allocation) -> tuple[bool, datetime | None, str]:
    """Those that were asked last count, where the ones before did not leave."""
    return one.preempted_at is not None, one.preempted_at, one.pipeline_id


class Preempting:
    """What is claimed is kept like what is reserved, from the moment that its class is served."""

    def __init__(
        self,
        snapshot: Snapshot,
        reservations: Reservations,
        claims: Iterable[Claim],
        now: datetime,
        since: datetime,
    ) -> None:
        self._snapshot, self._reservations, self._now = snapshot, reservations, now
        self._since = since
        """Whoever was asked before that may be stuck."""
        self._claims: dict[int, list[Claim]] = {}
        for claim in claims:
            self._claims.setdefault(claim.priority, []).append(claim)
        self._nobody: set[tuple[int, Need]] = set()
        self.asked: list[Preemption] = []

    def keep_claimed(self, priority: int) -> None:
        """What is left for those of this class, and what still will be."""
        fleet = self._snapshot.fleet
        for claim in self._claims.get(priority, ()):
            row = fleet.row_of.get(claim.node_id)
            found = self._room_on(row, claim) if row is not None else None
            if found is not None:
                self._keep(found, claim)

    def make_room(self, claim: Claim, kind: Need) -> bool:
        """For one that fits nowhere, whatever it claimed before; `kind` says what decides whether
        it fits. While somebody leaves for it, nobody elsewhere is asked."""
        self._reservations.drop(claim.pipeline_id)
        if (claim.priority, kind) in self._nobody:
            return False
        only = awaited(claim.pipeline_id, self._snapshot.fleet, self._since)
        found = clear(
            claim.need,
            self._snapshot,
            priority=claim.priority,
            now=self._now,
            for_=claim.pipeline_id,
            since=self._since,
            only=only,
        )
        if found is None and only:
            return True
        if found is None:
            self._nobody.add((claim.priority, kind))
            return False
        self._ask(found.victims, claim.pipeline_id)
        self._keep(found, claim)
        return True

    def _room_on(self, row: int, claim: Claim) -> Clearing | None:
        return room_on(claim.need, self._snapshot, row, self._since)

    def _ask(self, victims: tuple[Allocation, ...], for_: str) -> None:
        for victim in victims:
            marked = replace(victim, preempted_for=for_, preempted_at=self._now)
            self._snapshot.fleet.hold(marked)
        keys = tuple((victim.pipeline_id, victim.generation) for victim in victims)
        if keys:
            self.asked.append(Preemption(pipeline_id=for_, victims=keys))

    def _keep(self, found: Clearing, claim: Claim) -> None:
        fleet = self._snapshot.fleet
        node_id = fleet.nodes[found.row].id
        reservation = keep(
            claim.need,
            found.row,
            node_id,
            found.gpu_devices,
            pipeline_id=claim.pipeline_id,
            generation=claim.generation,
            priority=claim.priority,
            since=self._now,
        )
        leaving = fleet.preemptibles.coming(self._since)
        making = tuple(sorted(one.pipeline_id for one in leaving if one.node_id == node_id))
        self._reservations.add(replace(reservation, making_room=making))


def kept_from_others(reservation: Reservation) -> str:
    """What is said of the node to whoever may not have that room."""
    made = reservation.making_room is not None
    why = "for which others make it" if made else "which waits for long"
    return f"has room that is reserved for {reservation.kept.pipeline_id}, {why}"


def said(reservation: Reservation) -> str:
    """Why it waits nevertheless: others have to leave first."""
    kept, making = reservation.kept, reservation.making_room
    if making is None:
        return f"it has waited for long, and node {kept.node_id} is kept for it"
    named, more = making[:NAMED], len(making) - NAMED
    names = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    pipelines = "1 pipeline" if len(making) == 1 else f"{len(making)} pipelines"
    return f"{kept.pipeline_id} waits for {pipelines} to make room on node {kept.node_id}: {names}"
