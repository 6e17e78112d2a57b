"""The first schema."""

import sqlalchemy as sa
from alembic import op

from store.column import UtcTime

revision = "0001"
down_revision = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "event",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("instance_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("pipeline_id", "run_id", "number", name="uq_event_number"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "game_node",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("connectivity", sa.String(), nullable=False),
        sa.Column("session", sa.BigInteger(), nullable=False),
        sa.Column("transport", sa.String(), nullable=False),
        sa.Column("registered_at", UtcTime(), nullable=False),
        sa.Column("last_seen_at", UtcTime(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "gateway",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("beat_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "instance",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=False),
        sa.Column("step_name", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("container_id", sa.String(), nullable=False),
        sa.Column("container_name", sa.String(), nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.Column("ports", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_instance_node_id", "instance", ["node_id"], unique=False)
    op.create_index("ix_instance_pipeline", "instance", ["pipeline_id", "generation"], unique=False)
    op.create_index("ix_instance_state", "instance", ["state"], unique=False)
    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "pipeline",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("content_digest", sa.String(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("definition_revision", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_pipeline_created_at", "pipeline", ["created_at"], unique=False)
    op.create_index("ix_pipeline_name", "pipeline", ["name"], unique=False)
    op.create_index("ix_pipeline_node_id", "pipeline", ["node_id"], unique=False)
    op.create_index("ix_pipeline_state", "pipeline", ["state"], unique=False)
    op.create_index("ix_pipeline_state_ended", "pipeline", ["state", "ended_at"], unique=False)
    op.create_index("ix_pipeline_template", "pipeline", ["template"], unique=False)
    op.create_table(
        "stop_order",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=True),
        sa.Column("instance_id", sa.String(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_stop_order_node_id", "stop_order", ["node_id"], unique=False)
    op.create_table(
        "allocation",
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("resources", sa.Text(), nullable=False),
        sa.Column("gpu_devices", sa.Text(), nullable=False),
        sa.Column("host_ports", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("taken_at", UtcTime(), nullable=True),
        sa.Column("released_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pipeline_id", "generation"),
    )
    op.create_index(
        "ix_allocation_released_node", "allocation", ["released_at", "node_id"], unique=False
    )
    op.create_table(
        "log_chunk",
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("last_at", UtcTime(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pipeline_id", "generation", "step_index", "attempt", "first"),
    )
    op.create_table(
        "log_tail",
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("series", sa.String(), nullable=False),
        sa.Column("earlier_series", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pipeline_id", "generation", "step_index", "attempt"),
    )
    op.create_table(
        "pipeline_label",
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pipeline_id", "key"),
    )
    op.create_index("ix_pipeline_label_key_value", "pipeline_label", ["key", "value"], unique=False)
    op.create_table(
        "pipeline_value",
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pipeline_id", "kind", "name"),
    )
    op.create_table(
        "queue_entry",
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("queued_at", UtcTime(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("verdicts", sa.Text(), nullable=False),
        sa.Column("avoid", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pipeline_id"),
    )
    op.create_table(
        "step",
        sa.Column("pipeline_id", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("dispatch", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("percent", sa.Float(), nullable=True),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("log_lines", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["pipeline_id"], ["pipeline.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pipeline_id", "generation", "index"),
    )


def downgrade() -> None:
    op.drop_table("step")
    op.drop_table("queue_entry")
    op.drop_table("pipeline_value")
    op.drop_table("pipeline_label")
    op.drop_table("log_tail")
    op.drop_table("log_chunk")
    op.drop_table("allocation")
    op.drop_table("stop_order")
    op.drop_table("pipeline")
    op.drop_table("lease")
    op.drop_table("instance")
    op.drop_table("gateway")
    op.drop_table("game_node")
    op.drop_table("event")
