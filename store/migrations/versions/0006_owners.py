"""Whose each allocation is, and what may take its place."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for column in (
        sa.Column("tenant", sa.String(), nullable=False, server_default="default"),
        sa.Column("template", sa.String(), nullable=False, server_default=""),
        sa.Column("priority", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("preemptible", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("allocation", column)
