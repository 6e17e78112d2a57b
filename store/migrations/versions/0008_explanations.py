"""How the node of each allocation was chosen."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("allocation", sa.Column("explanation", sa.Text(), nullable=True))
