"""Add the queue of snapshots that wait for their cluster."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    position = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "sh_snapshot_queue",
        sa.Column("position", position, autoincrement=True, nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_sh_snapshot_queue"),
        sa.UniqueConstraint("snapshot_id", name="uq_sh_snapshot_queue_snapshot_id"),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["sh_snapshots.id"], name="fk_sh_snapshot_queue_snapshot_id"
        ),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_snapshot_queue_cluster_id"),
    )
    op.create_index("ix_sh_snapshot_queue_cluster_id", "sh_snapshot_queue", ["cluster_id"], unique=False)


def downgrade() -> None:
    op.drop_table("sh_snapshot_queue")
