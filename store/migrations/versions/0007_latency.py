"""What was measured of the network, where regions are, and what follows from both."""

import sqlalchemy as sa
from alembic import op

from store.column import UtcTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "probe",
        *(sa.Column(name, sa.String(), primary_key=True) for name in ("kind", "source", "node_id")),
        *(sa.Column(n, sa.Float(), nullable=False) for n in ("rtt_ms", "jitter_ms", "weight")),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        *(sa.Column(name, UtcTime(), nullable=False) for name in ("last_at", "written_at")),
        sa.Column("kept", sa.Text(), nullable=False),
    )
    for name in ("node_id", "last_at", "written_at"):
        op.create_index(f"ix_probe_{name}", "probe", [name])
    op.create_table(
        "region",
        sa.Column("name", sa.String(), primary_key=True),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("latitude", "longitude")),
        sa.Column("updated_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "network",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("fitted_at", UtcTime(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
