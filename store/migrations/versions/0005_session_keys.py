"""What proves a session and a token; which gateways reach Temporal."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    for name in ("session_key", "nonce"):
        op.add_column("game_node", sa.Column(name, sa.String(), nullable=False, server_default=""))
    op.add_column(
        "gateway",
        sa.Column("reaches_temporal", sa.Boolean(), nullable=False, server_default=sa.true()),
    )
    op.create_table(
        "secret",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
