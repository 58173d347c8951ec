"""Add an index for each order in which snapshots are listed."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_ORDERS: dict[str, tuple[str | sa.TextClause, ...]] = {
    "project": ("project", sa.text("started DESC"), "id"),
    "started": ("cluster_id", "started", "id"),
    "finished": ("cluster_id", "finished", "id"),
    "name": ("cluster_id", sa.text("lower(name)"), "id"),
    "size": ("cluster_id", "plain_bytes", "id"),
    "status": ("cluster_id", "status", "id"),
    "type": ("cluster_id", "type", "id"),
}


def upgrade() -> None:
    for name, columns in _ORDERS.items():
        op.create_index(
            f"ix_sh_snapshots_by_{name}",
            "sh_snapshots",
            list(columns),
            unique=False,
            sqlite_where=sa.text("deleted IS NULL"),
            postgresql_where=sa.text("deleted IS NULL"),
        )


def downgrade() -> None:
    for name in _ORDERS:
        op.drop_index(f"ix_sh_snapshots_by_{name}", "sh_snapshots")
