"""Hosts that said goodbye, hosts that are lost, and the faults of their instances."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "hosts",
        sa.Column("said_goodbye", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    # Whoever is away was not watched for it: nobody is to be called lost for that now.
    op.execute("UPDATE hosts SET said_goodbye = true WHERE state = 'offline'")
    op.add_column("faults", sa.Column("correlated_to", sa.String(255)))
    op.add_column("faults", sa.Column("instances", sa.JSON))


def downgrade() -> None:
    op.drop_column("faults", "instances")
    op.drop_column("faults", "correlated_to")
    op.drop_column("hosts", "said_goodbye")
