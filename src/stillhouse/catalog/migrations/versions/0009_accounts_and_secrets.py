"""Add the account that each node's server runs as, its sealed secret, and the accounts already given out."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("sh_nodes", sa.Column("os_user", sa.Text(), nullable=False, server_default=""))
    op.add_column("sh_nodes", sa.Column("sealed_secret", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "sh_os_accounts",
        sa.Column("uid", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("uid", name="pk_sh_os_accounts"),
    )


def downgrade() -> None:
    op.drop_table("sh_os_accounts")
    op.drop_column("sh_nodes", "sealed_secret")
    op.drop_column("sh_nodes", "os_user")
