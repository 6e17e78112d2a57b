"""The fleet as it is, for somebody who only asks."""

from sqlmodel import Session

from gamepipe.scheduling.policy import Policy
from gamepipe.scheduling.snapshot import Snapshot
from store.capacity import load_chooser


def present(session: Session, policy: Policy) -> Snapshot:
    """What a placement would be decided on now. It is the caller's own: who plans changes it."""
    return load_chooser(session, policy).snapshot
