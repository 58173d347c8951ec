"""Add who has a cluster's servers in hand, their latest check-up, and the connection to each one elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("sh_clusters", sa.Column("provider", sa.Text(), nullable=False, server_default="embedded"))
    op.add_column("sh_clusters", sa.Column("check_up", sa.Text(), nullable=False, server_default="{}"))
    op.add_column("sh_nodes", sa.Column("connection", sa.Text(), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("sh_nodes", "connection")
    op.drop_column("sh_clusters", "check_up")
    op.drop_column("sh_clusters", "provider")
