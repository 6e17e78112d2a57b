"""Which life of its id a pipeline is; what the fleet's nodes owe and who named them."""

import sqlalchemy as sa
from alembic import op

from store.column import UtcTime

revision = "0003"
down_revision = "0002"

NOWHERE = '{"text":"","region":"","zone":"","latitude":null,"longitude":null}'


def upgrade() -> None:
    op.add_column(
        "pipeline", sa.Column("incarnation", sa.String(), nullable=False, server_default="")
    )
    op.add_column("allocation", sa.Column("queued_at", UtcTime(), nullable=True))
    op.add_column("allocation", sa.Column("avoid", sa.Text(), nullable=False, server_default="[]"))
    for table, name in (
        ("instance", "unaccounted"),
        ("game_node", "labels_set"),
        ("game_node", "location_set"),
    ):
        op.add_column(
            table, sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
        )
    _keep_what_is_set()


def _keep_what_is_set() -> None:
    """Nobody noted who set the labels and locations that are there: they stay, as until now."""
    node = sa.table(
        "game_node",
        *(sa.column(name, sa.String()) for name in ("labels", "location")),
        *(sa.column(name, sa.Boolean()) for name in ("labels_set", "location_set")),
    )
    op.execute(sa.update(node).where(node.c.labels != "{}").values(labels_set=True))
    op.execute(sa.update(node).where(node.c.location != NOWHERE).values(location_set=True))
