"""How a snapshot is read: its row, joined with facts in other tables."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, or_, select, type_coerce

from stillhouse.catalog.schema.columns import Word
from stillhouse.catalog.schema.tables import (
    backup_settings,
    clusters,
    copies,
    losses,
    operations,
    policy_runs,
    proofs,
    snapshots,
)
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType

NOT_DELETED = snapshots.c.deleted.is_(None)
NEWEST_FIRST = (snapshots.c.started.desc(), snapshots.c.id)


def is_named(project: str, name: str) -> ColumnElement[bool]:
    """Whether it is the project's snapshot of that name, in upper or lower case, and not in the trash."""
    return and_(snapshots.c.project == project, func.lower(snapshots.c.name) == name.lower(), NOT_DELETED)


@cache
def selected() -> Select[Any]:
    """Snapshots joined with facts in other tables: a column for each field of `Snapshot`, in its order.

    The query is built once: that costs more than running it.
    """
    restoring = exists().where(
        operations.c.subject_id == snapshots.c.id,
        _is_one_of(operations.c.kind, Task.RESTORING, Task.FINE_GRAINED_RESTORING),
        operations.c.ended.is_(None),
    )
    damaged = exists().where(losses.c.snapshot_id == snapshots.c.id)
    proving = exists().where(proofs.c.snapshot_id == snapshots.c.id, proofs.c.ended.is_(None))
    cluster_status = select(clusters.c.status).where(clusters.c.id == snapshots.c.cluster_id)
    cluster_task = select(operations.c.kind).where(
        operations.c.cluster_id == snapshots.c.cluster_id,
        operations.c.kind != Task.COLLECTING,
        operations.c.ended.is_(None),
    )
    joined: dict[str, ColumnElement[Any]] = {
        "status": type_coerce(snapshots.c.status, Word(SnapshotStatus)),
        "type": type_coerce(snapshots.c.type, Word(SnapshotType)),
        "restoring": restoring,
        "cluster_status": type_coerce(cluster_status.scalar_subquery(), Word(ClusterStatus)),
        "cluster_task": type_coerce(cluster_task.scalar_subquery(), Word(Task)),
        "proving": proving,
        "damaged": damaged,
        "is_full": func.coalesce(policy_runs.c.is_full, false()),
        "due": policy_runs.c.due,
        "schedule": func.coalesce(policy_runs.c.schedule, ""),
        "keep_day": backup_settings.c.keep_day,
        "copied_from": func.coalesce(copies.c.source_id, ""),
        "copying": has_copy_in(snapshots.c.id, SnapshotStatus.CREATING),
    }
    names = [field.name for field in fields(Snapshot)]
    automated = snapshots.c.type == SnapshotType.AUTO
    return select(
        *(joined[name].label(name) if name in joined else snapshots.c[name] for name in names)
    ).select_from(
        snapshots.outerjoin(policy_runs, policy_runs.c.snapshot_id == snapshots.c.id)
        .outerjoin(copies, copies.c.snapshot_id == snapshots.c.id)
        .outerjoin(backup_settings, and_(automated, backup_settings.c.cluster_id == snapshots.c.cluster_id))
    )


def has_copy_in(snapshot_id: Any, *states: SnapshotStatus) -> Any:
    """Whether a snapshot has a copy in one of these states."""
    made = snapshots.alias("made")
    return exists(
        select(copies.c.snapshot_id)
        .join(made, made.c.id == copies.c.snapshot_id)
        .where(
            copies.c.source_id == snapshot_id, made.c.deleted.is_(None), _is_one_of(made.c.status, *states)
        )
        .correlate(snapshots)
    )


def _is_one_of(column: Any, *values: str) -> Any:
    """As `column.in_(values)`, whose text SQLAlchemy completes anew each time that the query runs."""
    return or_(*(column == value for value in values))


def snapshot_of(row: Sequence[Any]) -> Snapshot:
    """Make a snapshot of a row of `selected`. Lists of thousands take twice as long if each field is named here."""
    return Snapshot(*row)
