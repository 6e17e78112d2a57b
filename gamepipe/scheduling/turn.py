"""The place of one that waits, in the very order in which the queue is served.

All that wait are served by `Turns` as though each found room, one after the other. Those whom a
limit holds back now have no turn, whatever room there is.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import replace

import numpy as np

from gamepipe.model.forecast import Turn
from gamepipe.model.spec import GpuRequest
from gamepipe.scheduling.choose import NONE_CLOSED, Choice, Chooser, Closed
from gamepipe.scheduling.device import Devices
from gamepipe.scheduling.dominance import dominant
from gamepipe.scheduling.holding import NAMES, Holding, amounts_held, gpus_held
from gamepipe.scheduling.limit import Limits
from gamepipe.scheduling.lineup import Lineup
from gamepipe.scheduling.need import Need
from gamepipe.scheduling.order import Grant, Line, Turns
from gamepipe.scheduling.present import Present
from gamepipe.scheduling.snapshot import Snapshot
from gamepipe.scheduling.unit import MILLIONTHS


def turn_of(pipeline_id: str, present: Present) -> Turn | None:
    """None: it does not wait. Changes nothing of what is present."""
    own = present.lineup.find(pipeline_id)
    if own is None:
        return None
    now = present.turns()
    lineup = present.lineup.where(lambda line: not now.over_limit(line) or _same(line, own))
    limited = len(present.lineup) - len(lineup)
    share, kind = dominant(own.need.tenant, present.chooser.snapshot.fleet)
    above = older = others = 0
    for grant in _in_turn(lineup, present):
        if grant.waiting.pipeline_id == pipeline_id:
            break
        above += grant.line.priority > own.priority
        same = grant.line.priority == own.priority
        older += same and grant.line.need.tenant == own.need.tenant
        others += same and grant.line.need.tenant != own.need.tenant
    return Turn(
        position=1 + above + older + others,
        waiting=len(present.lineup),
        priority=own.priority,
        tenant=own.need.tenant,
        share=share,
        share_of=NAMES[kind],
        weight=present.policy.weight(own.need.tenant),
        above=above,
        older=older,
        others=others,
        limited=limited,
    )


def _same(line: Line, own: Line) -> bool:
    return (line.priority, line.need, line.labels) == (own.priority, own.need, own.labels)


def _in_turn(lineup: Lineup, present: Present) -> Iterator[Grant]:
    """Each is held by its tenant, though on no node."""
    snapshot = _with_own_holdings(present.chooser.snapshot)
    policy = replace(present.policy, limits=Limits())
    held: dict[Need, Holding] = {}
    for grant in Turns(lineup.lines(), _Roomy(snapshot), policy, now=present.now):
        need, waiting = grant.line.need, grant.waiting
        if need not in held:
            gpus = _gpus(need.resources.gpu, snapshot.fleet.devices)
            held[need] = amounts_held(need.resources, gpus)
        key = (waiting.pipeline_id, waiting.generation)
        snapshot.fleet.holdings.take(key, need.tenant, held[need])
        yield grant


class _Roomy(Chooser):
    """Finds room for everybody."""

    def find(self, need: Need, closed: Closed = NONE_CLOSED) -> Choice | None:  # noqa: ARG002
        return Choice(node_id="")


def _with_own_holdings(snapshot: Snapshot) -> Snapshot:
    """It shares all else with the fleet that is there, and is only read."""
    fleet = copy(snapshot.fleet)
    fleet.holdings = fleet.holdings.copy()
    return replace(snapshot, fleet=fleet)


def _gpus(request: GpuRequest, devices: Devices) -> int:
    """Millionths of GPUs that it will hold: of the first node with a device that suits."""
    if request.is_empty:
        return 0
    suitable = devices.suit(request)
    rows = np.flatnonzero(suitable.any(axis=1))
    if not len(rows):
        return max(request.count, 1) * MILLIONTHS
    row = slice(rows[0], rows[0] + 1)
    slots = np.flatnonzero(suitable[rows[0]])[: int(devices.wanted(request, row)[0])]
    return gpus_held(request, devices.total[rows[0], slots].tolist())
