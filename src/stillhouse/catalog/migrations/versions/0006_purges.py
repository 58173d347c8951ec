"""Add purges: snapshots in the trash that can no longer be brought back."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "sh_purges",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("began", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("snapshot_id", name="pk_sh_purges"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["sh_snapshots.id"], name="fk_sh_purges_snapshot_id"),
    )


def downgrade() -> None:
    op.drop_table("sh_purges")
