"""The catalog keeps the key of secrets, sealed, and the repository's id: another host can take the service's place."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_COLUMNS = ("repository", "kek", "sealed_key")


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("sh_installation", sa.Column(name, sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    for name in _COLUMNS:
        op.drop_column("sh_installation", name)
