"""Maintenance windows, and the faults of which nobody is told because of one."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_in_maintenance: dict[str, Any] = {
    "sqlite_where": sa.text("maintenance IS NOT NULL"),
    "postgresql_where": sa.text("maintenance IS NOT NULL"),
}


def upgrade() -> None:
    op.create_table(
        "maintenance_windows",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("instances", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("started_by", sa.String(255), nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("ended_by", sa.String(255)),
    )
    op.add_column("faults", sa.Column("maintenance", sa.String(32)))
    op.create_index("faults_in_maintenance", "faults", ["maintenance"], **_in_maintenance)


def downgrade() -> None:
    op.drop_index("faults_in_maintenance", "faults")
    op.drop_column("faults", "maintenance")
    op.drop_table("maintenance_windows")
