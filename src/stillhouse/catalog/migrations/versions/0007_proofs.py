"""Add proofs of snapshots, their schedules, and the witnesses of cuts."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TIME = sa.DateTime(timezone=True)
_NOT_ENDED = sa.text("ended IS NULL")


def upgrade() -> None:
    op.create_table(
        "sh_witnesses",
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("snapshots", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id", "attempt"],
            ["sh_cuts.snapshot_id", "sh_cuts.attempt"],
            name="fk_sh_witnesses_snapshot_id_attempt",
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "attempt", "node", name="pk_sh_witnesses"),
    )
    op.create_table(
        "sh_proofs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("access_key", sa.Text(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("started", _TIME, nullable=False),
        sa.Column("ended", _TIME, nullable=True),
        sa.Column("report", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["sh_snapshots.id"], name="fk_sh_proofs_snapshot_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sh_proofs"),
    )
    op.create_index("ix_sh_proofs_snapshot_id", "sh_proofs", ["snapshot_id"], unique=False)
    op.create_index(
        "uq_sh_proofs_active",
        "sh_proofs",
        ["snapshot_id"],
        unique=True,
        sqlite_where=_NOT_ENDED,
        postgresql_where=_NOT_ENDED,
    )
    op.create_table(
        "sh_proof_schedules",
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("every_days", sa.Integer(), nullable=False),
        sa.Column("newest_only", sa.Boolean(), nullable=False),
        sa.Column("updated", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["cluster_id"], ["sh_clusters.id"], name="fk_sh_proof_schedules_cluster_id"),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_sh_proof_schedules"),
    )


def downgrade() -> None:
    for table in ("sh_proof_schedules", "sh_proofs", "sh_witnesses"):
        op.drop_table(table)
