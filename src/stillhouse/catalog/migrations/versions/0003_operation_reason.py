"""Add the reason of an operation's failure: a job may be asked about long after its cluster has run another one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("sh_operations", sa.Column("reason", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("sh_operations", "reason")
