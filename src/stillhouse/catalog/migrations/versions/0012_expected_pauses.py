"""Add how long a snapshot's cut is expected to hold writers up."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("sh_snapshots", sa.Column("expected_pause_seconds", sa.Double()))


def downgrade() -> None:
    op.drop_column("sh_snapshots", "expected_pause_seconds")
