"""Providers, machines, their jobs; the provider of a cluster; nodes that were removed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; the clusters that are there belong to the section [iaas]."""
    op.add_column("clusters", sa.Column("provider", sa.String(128), nullable=False, server_default="default"))
    op.add_column("events", sa.Column("provider", sa.String(128), nullable=False, server_default=""))
    op.create_index("ix_events_provider", "events", ["provider"])
    op.create_table(
        "providers",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("username", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("default_image", sa.Text, nullable=False),
        sa.Column("default_flavor", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    _machines()
    op.create_table(
        "buried",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("group_id", sa.String(32), primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
    )


def _machines() -> None:
    op.create_table(
        "machines",
        sa.Column("uuid", sa.String(40), primary_key=True),
        sa.Column("provider", sa.String(128), nullable=False, index=True),
        sa.Column("group_id", sa.String(32), nullable=False, index=True),
        sa.Column("goal", sa.String(16), nullable=False),
        sa.Column("stored", sa.Boolean, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("addresses", sa.Text, nullable=False),
        sa.Column("public_address", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "machine_jobs",
        sa.Column("job_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("provider", sa.String(128), nullable=False, index=True),
        sa.Column("machines", sa.Text, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("leftovers", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Forgetting providers and machines would leave VMs behind that nobody knows."""
    raise RuntimeError("providers and machines have no place in the schema before")
