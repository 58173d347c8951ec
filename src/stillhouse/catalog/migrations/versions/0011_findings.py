"""Add the known damage in the repository, and its cost to each snapshot."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "sh_findings",
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("looked", sa.DateTime(timezone=True), nullable=False),
        sa.Column("records", sa.Text(), nullable=False),
        sa.Column("is_worked_out", sa.Boolean(), nullable=False),
        sa.Column("objects", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_findings_cluster_id"),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_sh_findings"),
    )
    op.create_table(
        "sh_losses",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("nodes", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["sh_snapshots.id"], name="fk_sh_losses_snapshot_id"),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_losses_cluster_id"),
        sa.PrimaryKeyConstraint("snapshot_id", name="pk_sh_losses"),
    )
    op.create_index("ix_sh_losses_cluster_id", "sh_losses", ["cluster_id"], unique=False)


def downgrade() -> None:
    for table in ("sh_losses", "sh_findings"):
        op.drop_table(table)
