"""The index of lanes, in words that keep PostgreSQL from taking another one for it."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_COLUMNS = ["sink", "lane", "change_id"]


def upgrade() -> None:
    op.drop_index("deliveries_lane", "deliveries")
    op.create_index(
        "deliveries_lane", "deliveries", _COLUMNS, **_where("state NOT IN ('done', 'failed')")
    )


def downgrade() -> None:
    op.drop_index("deliveries_lane", "deliveries")
    op.create_index("deliveries_lane", "deliveries", _COLUMNS, **_where("state = 'pending'"))


def _where(words: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(words), "postgresql_where": sa.text(words)}
