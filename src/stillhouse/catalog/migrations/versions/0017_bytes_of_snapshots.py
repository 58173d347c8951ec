"""Keep how many bytes of the repository each snapshot reaches, and how many it alone reaches."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_INDEX = "ix_sh_snapshots_unmeasured"
_AMONG = sa.text("status = 'AVAILABLE' AND own_bytes IS NULL")


def upgrade() -> None:
    for column in ("reached_bytes", "own_bytes"):
        op.add_column("sh_snapshots", sa.Column(column, sa.BigInteger()))
    op.create_index(
        _INDEX, "sh_snapshots", ["cluster_id"], unique=False, sqlite_where=_AMONG, postgresql_where=_AMONG
    )


def downgrade() -> None:
    op.drop_index(_INDEX, "sh_snapshots")
    for column in ("reached_bytes", "own_bytes"):
        op.drop_column("sh_snapshots", column)
