"""Add how long a snapshot has waited for its cut, over all its attempts."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column(
        "sh_snapshots", sa.Column("cut_waited_seconds", sa.Double(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("sh_snapshots", "cut_waited_seconds")
