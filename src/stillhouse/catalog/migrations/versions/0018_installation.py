"""The catalog knows whose it is, who served it last, and whether it has moved."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "sh_installation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("moved_to", sa.Text(), nullable=False),
        sa.Column("served_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sh_installation"),
    )


def downgrade() -> None:
    op.drop_table("sh_installation")
