"""Add how fast captures go, and how far the nodes of a restore have come."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column(
        "sh_captures", sa.Column("bytes_per_second", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_table(
        "sh_restores",
        sa.Column("operation_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("bytes_per_second", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operation_id"], ["sh_operations.id"], name="fk_sh_restores_operation_id"),
        sa.PrimaryKeyConstraint("operation_id", "node", name="pk_sh_restores"),
    )


def downgrade() -> None:
    op.drop_table("sh_restores")
    op.drop_column("sh_captures", "bytes_per_second")
