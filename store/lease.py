"""A lease by name: one holder at a time, for as long as it renews."""

from datetime import datetime, timedelta

from store.process import LeaseRow
from store.transaction import Transaction


def take(tx: Transaction, name: str, holder: str, *, ttl: timedelta, now: datetime) -> bool:
    """Whether `holder` has the lease now; it renews its own and takes an expired one."""
    expires_at = now + ttl
    if tx.insert_new(LeaseRow, {"name": name, "holder": holder, "expires_at": expires_at}):
        return True
    row = tx.session.get_one(LeaseRow, name, with_for_update=True)
    if row.holder != holder and row.expires_at > now:
        return False
    row.holder, row.expires_at = holder, expires_at
    return True
