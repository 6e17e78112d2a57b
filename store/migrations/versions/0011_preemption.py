"""Who was asked to make room, and for whom. What a live instance holds is not preemptible."""

import sqlalchemy as sa
from alembic import op

from store.column import UtcTime

revision = "0011"
down_revision = "0010"

_SPARE = """
UPDATE allocation SET preemptible = false
WHERE released_at IS NULL AND preemptible AND EXISTS (
    SELECT 1 FROM instance
    WHERE instance.pipeline_id = allocation.pipeline_id
      AND instance.generation = allocation.generation
      AND instance.state IN ('running', 'unhealthy', 'stopping')
)
"""


def upgrade() -> None:
    op.add_column(
        "allocation", sa.Column("preempted_for", sa.String(), nullable=False, server_default="")
    )
    op.add_column("allocation", sa.Column("preempted_at", UtcTime()))
    op.execute(_SPARE)
