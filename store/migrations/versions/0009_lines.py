"""What waits in the queue, in lines of the same need; and a tenant's pipelines by their state."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for column in (
        sa.Column("reason", sa.String(), nullable=False, server_default=""),
        sa.Column("line", sa.String(), nullable=False, server_default=""),
        sa.Column("need", sa.Text(), nullable=True),
    ):
        op.add_column("queue_entry", column)
    op.create_index("ix_queue_entry_line", "queue_entry", ["priority", "line", "queued_at"])
    op.create_index("ix_pipeline_tenant_state", "pipeline", ["tenant", "state"])
