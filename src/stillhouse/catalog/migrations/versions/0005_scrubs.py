"""Add when each cluster's packs are read in the background."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "sh_scrubs",
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("due", _TIME, nullable=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("ended", _TIME, nullable=True),
        sa.Column("packs", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("damages", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_scrubs_cluster_id"),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_sh_scrubs"),
    )


def downgrade() -> None:
    op.drop_table("sh_scrubs")
