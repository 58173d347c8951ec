"""Add policies of access keys, temporary keys, users and their tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TIME = sa.DateTime(timezone=True)
_NOT_DISABLED = sa.text("disabled IS NULL")


def upgrade() -> None:
    with op.batch_alter_table("sh_access_keys") as keys:
        keys.add_column(sa.Column("policies", sa.Text(), nullable=True))
        keys.add_column(sa.Column("expires", _TIME, nullable=True))
    # Keys made before there were policies could do everything, and still can.
    op.execute("""UPDATE sh_access_keys SET policies = '["DWS FullAccess"]'""")
    with op.batch_alter_table("sh_access_keys") as keys:
        keys.alter_column("policies", existing_type=sa.Text(), nullable=False)
    op.create_table(
        "sh_temporary_keys",
        sa.Column("access_key", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.Text(), nullable=False),
        sa.Column("token_digest", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("narrowed_to", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("access_key", name="pk_sh_temporary_keys"),
    )
    op.create_table(
        "sh_users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("policies", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("disabled", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_sh_users"),
    )
    op.create_index(
        "uq_sh_users_name",
        "sh_users",
        ["project", "name"],
        unique=True,
        sqlite_where=_NOT_DISABLED,
        postgresql_where=_NOT_DISABLED,
    )
    op.create_table(
        "sh_tokens",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("issued", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["sh_users.id"], name="fk_sh_tokens_user_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_sh_tokens"),
    )
    op.create_table(
        "sh_permission_policies",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("created", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sh_permission_policies"),
    )


def downgrade() -> None:
    op.drop_table("sh_permission_policies")
    op.drop_table("sh_tokens")
    op.drop_index("uq_sh_users_name", "sh_users")
    op.drop_table("sh_users")
    op.drop_table("sh_temporary_keys")
    with op.batch_alter_table("sh_access_keys") as keys:
        keys.drop_column("expires")
        keys.drop_column("policies")
