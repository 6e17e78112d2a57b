"""Streams of nodes: which is the newest, and the state that its agent acts by."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "game_node", sa.Column("stream", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column(
        "game_node", sa.Column("agent_state", sa.String(), nullable=False, server_default="")
    )
