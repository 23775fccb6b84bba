"""What Nova was asked for because of faults."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "nova_actions",
        sa.Column(
            "fault_id",
            sa.String(255),
            sa.ForeignKey("faults.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("action", sa.String(16), primary_key=True),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("marker", sa.String(255), nullable=False),
        sa.Column("ours", sa.String(255), nullable=False, server_default=""),
        sa.Column("begun_at", sa.Float, nullable=False),
    )
    op.create_index("nova_actions_by_subject", "nova_actions", ["subject"])
    op.create_index("nova_actions_by_time", "nova_actions", ["begun_at"])


def downgrade() -> None:
    op.drop_table("nova_actions")
