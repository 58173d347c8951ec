"""What replicas must share: lock-outs, news of the host that leads, and word of each change of keys and policies."""

import sqlalchemy as sa
from alembic import op

from stillhouse.catalog.schema.columns import Document, UtcTime

revision = "0020"
down_revision = "0019"

# The tables by which a caller and their permissions are known.
_ACCESS = ("sh_access_keys", "sh_users", "sh_permission_policies")


def upgrade() -> None:
    op.create_table(
        "sh_news",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("told", Document(), nullable=False),
        sa.Column("updated", UtcTime(), nullable=False),
    )
    op.create_table(
        "sh_lockouts",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("subject", sa.Text(), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last", UtcTime(), nullable=False),
        sa.Column("locked_until", UtcTime()),
    )
    op.create_index("ix_sh_lockouts_last", "sh_lockouts", ["kind", "last"])
    if op.get_bind().dialect.name == "postgresql":
        # A trigger, since a change by hand in psql must reach the replicas too.
        op.execute(
            "CREATE FUNCTION sh_access_changed() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM pg_notify('stillhouse', 'access'); RETURN NULL; END$$"
        )
        for table in _ACCESS:
            op.execute(
                f"CREATE TRIGGER sh_access_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
                " FOR EACH STATEMENT EXECUTE FUNCTION sh_access_changed()"
            )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION sh_access_changed() CASCADE")
    op.drop_table("sh_lockouts")
    op.drop_table("sh_news")
