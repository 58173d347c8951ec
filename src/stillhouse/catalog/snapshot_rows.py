"""How a snapshot is read: its row, joined with facts in other tables."""

from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, or_, select

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
    """Snapshots joined with facts in other tables. The query is built once: that costs more than running it."""
    restoring = exists().where(
        operations.c.subject_id == snapshots.c.id,
        _is_one_of(operations.c.kind, Task.RESTORING, Task.FINE_GRAINED_RESTORING),
        operations.c.ended.is_(None),
    )
    damaged = exists().where(losses.c.snapshot_id == snapshots.c.id)
    proving = exists().where(proofs.c.snapshot_id == snapshots.c.id, proofs.c.ended.is_(None))
    status = select(clusters.c.status).where(clusters.c.id == snapshots.c.cluster_id).scalar_subquery()
    task = (
        select(operations.c.kind)
        .where(
            operations.c.cluster_id == snapshots.c.cluster_id,
            operations.c.kind != Task.COLLECTING,
            operations.c.ended.is_(None),
        )
        .scalar_subquery()
    )
    automated = snapshots.c.type == SnapshotType.AUTO
    return select(
        snapshots,
        restoring.label("restoring"),
        proving.label("proving"),
        damaged.label("damaged"),
        status.label("cluster_status"),
        task.label("cluster_task"),
        has_copy_in(snapshots.c.id, SnapshotStatus.CREATING).label("copying"),
        copies.c.source_id.label("copied_from"),
        policy_runs.c.is_full,
        policy_runs.c.due,
        policy_runs.c.schedule,
        backup_settings.c.keep_day,
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


def snapshot_of(row: Row[Any]) -> Snapshot:
    return Snapshot(
        id=row.id,
        project=row.project,
        cluster_id=row.cluster_id,
        cluster_name=row.cluster_name,
        name=row.name,
        description=row.description,
        status=SnapshotStatus(row.status),
        type=SnapshotType(row.type),
        started=row.started,
        updated=row.updated,
        finished=row.finished,
        progress=row.progress,
        plain_bytes=row.plain_bytes,
        stored_bytes=row.stored_bytes,
        db_user=row.db_user,
        backup_key=row.backup_key,
        reason=row.reason,
        cancel_requested=row.cancel_requested,
        restoring=bool(row.restoring),
        cluster_status=ClusterStatus(row.cluster_status),
        cluster_task=Task(row.cluster_task) if row.cluster_task else None,
        proving=bool(row.proving),
        damaged=bool(row.damaged),
        deleted=row.deleted,
        is_full=bool(row.is_full),
        due=row.due,
        schedule=row.schedule or "",
        keep_day=row.keep_day,
        copied_from=row.copied_from or "",
        copying=bool(row.copying),
    )
