"""Hosts, instances, faults and their deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_change_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "hosts",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("agent_version", sa.String(64), nullable=False),
        sa.Column("guests", sa.Integer, nullable=False),
        sa.Column("lateness_ms", sa.Float, nullable=False),
        sa.Column("reported_at", sa.String(40), nullable=False),
    )
    op.create_table(
        "instances",
        sa.Column("host", sa.String(255), primary_key=True),
        sa.Column("uuid", sa.String(255), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("interval_ms", sa.Integer),
        sa.Column("last_seen_at", sa.String(40)),
        sa.Column("registered", sa.Boolean, nullable=False),
        sa.Column("health", sa.String(32)),
        sa.Column("reported_at", sa.String(40), nullable=False),
    )
    op.create_index("instances_by_uuid", "instances", ["uuid"])
    _create_faults()
    _create_deliveries()


def _create_faults() -> None:
    op.create_table(
        "faults",
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("instance_uuid", sa.String(255), nullable=False),
        sa.Column("instance_name", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("raised_at", sa.String(40), nullable=False),
        sa.Column("cleared_at", sa.String(40)),
        sa.Column("corrective_action", sa.String(16), nullable=False),
        sa.Column("last_change_id", _change_id, nullable=False),
    )
    op.create_index("faults_by_change", "faults", ["last_change_id"])
    op.create_index("faults_by_status", "faults", ["status", "last_change_id"])
    op.create_index("faults_by_instance", "faults", ["instance_uuid", "last_change_id"])
    op.create_index("faults_by_host", "faults", ["host", "last_change_id"])


def _create_deliveries() -> None:
    op.create_table(
        "fault_changes",
        sa.Column("id", _change_id, primary_key=True, autoincrement=True),
        sa.Column("fault_id", sa.String(255), sa.ForeignKey("faults.id"), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("stages_ms", sa.JSON, nullable=False),
        sa.Column("stored_ms", sa.Float),
        sa.UniqueConstraint("fault_id", "status", name="fault_changes_once"),
    )
    op.create_table(
        "deliveries",
        sa.Column("change_id", _change_id, sa.ForeignKey("fault_changes.id"), primary_key=True),
        sa.Column("sink", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.String(40)),
        sa.Column("last_error", sa.Text),
        sa.Column("done_ms", sa.Float),
    )
    op.create_index(
        "deliveries_pending",
        "deliveries",
        ["sink", "change_id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )


def downgrade() -> None:
    for table in ("deliveries", "fault_changes", "faults", "instances", "hosts"):
        op.drop_table(table)
