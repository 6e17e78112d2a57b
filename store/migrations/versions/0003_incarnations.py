"""Which life of its id a pipeline is; what the fleet's nodes owe and who named them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "pipeline", sa.Column("incarnation", sa.String(), nullable=False, server_default="")
    )
