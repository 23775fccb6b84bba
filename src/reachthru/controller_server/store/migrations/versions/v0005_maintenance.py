"""Maintenance windows, and the faults of which nobody is told because of one.

And the index of lanes, in words that keep PostgreSQL from taking another one for it.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_LANES = ["sink", "lane", "change_id"]


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
    op.create_index(
        "faults_in_maintenance", "faults", ["maintenance"], **_where("maintenance IS NOT NULL")
    )
    _index_lanes("state NOT IN ('done', 'failed')")


def downgrade() -> None:
    _index_lanes("state = 'pending'")
    op.drop_index("faults_in_maintenance", "faults")
    op.drop_column("faults", "maintenance")
    op.drop_table("maintenance_windows")


def _index_lanes(words: str) -> None:
    op.drop_index("deliveries_lane", "deliveries")
    op.create_index("deliveries_lane", "deliveries", _LANES, **_where(words))


def _where(words: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(words), "postgresql_where": sa.text(words)}
