"""Add who has a cluster's servers in hand, and the connection to each server that is not on this host."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("sh_clusters", sa.Column("provider", sa.Text(), nullable=False, server_default="embedded"))
    op.add_column("sh_nodes", sa.Column("connection", sa.Text(), nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("sh_nodes", "connection")
    op.drop_column("sh_clusters", "provider")
