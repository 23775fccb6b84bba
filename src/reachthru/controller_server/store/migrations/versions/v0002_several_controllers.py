"""Several controllers on one database: claims of deliveries, and leases."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_pending: dict[str, Any] = {
    "sqlite_where": sa.text("state = 'pending'"),
    "postgresql_where": sa.text("state = 'pending'"),
}


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.add_column("fault_changes", sa.Column("stored_at", sa.Float))
    op.add_column(
        "deliveries", sa.Column("lane", sa.String(255), nullable=False, server_default="")
    )
    op.add_column("deliveries", sa.Column("due_at", sa.Float, nullable=False, server_default="0"))
    op.add_column("deliveries", sa.Column("claimed_by", sa.String(255)))
    op.execute(
        "UPDATE deliveries SET lane = (SELECT coalesce(nullif(faults.instance_uuid, ''),"
        " faults.host) FROM faults JOIN fault_changes ON fault_changes.fault_id = faults.id"
        " WHERE fault_changes.id = deliveries.change_id)"
    )
    op.drop_index("deliveries_pending", "deliveries")
    op.create_index("deliveries_due", "deliveries", ["sink", "due_at"], **_pending)
    op.create_index("deliveries_lane", "deliveries", ["sink", "lane", "change_id"], **_pending)


def downgrade() -> None:
    op.drop_index("deliveries_lane", "deliveries")
    op.drop_index("deliveries_due", "deliveries")
    op.create_index("deliveries_pending", "deliveries", ["sink", "change_id"], **_pending)
    for column in ("claimed_by", "due_at", "lane"):
        op.drop_column("deliveries", column)
    op.drop_column("fault_changes", "stored_at")
    op.drop_table("leases")
