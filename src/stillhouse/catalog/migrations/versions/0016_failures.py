"""Keep the code and the hint of each failure. Snapshots that were cancelled before are known by their reason."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_TABLES = ("sh_snapshots", "sh_operations")


def upgrade() -> None:
    for table in _TABLES:
        for column in ("failed_code", "hint"):
            op.add_column(table, sa.Column(column, sa.Text(), nullable=False, server_default=""))
        op.execute(
            f"UPDATE {table} SET failed_code = 'cancelled' WHERE reason LIKE 'the snapshot was cancelled%'"
            " OR reason = 'the copy was cancelled' OR reason = 'deleted before its turn came'"
        )


def downgrade() -> None:
    for table in _TABLES:
        for column in ("failed_code", "hint"):
            op.drop_column(table, column)
