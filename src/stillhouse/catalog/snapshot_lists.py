"""Lists of snapshots, each in an order that an index serves."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, func, select

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import losses, snapshots
from stillhouse.catalog.snapshot_rows import NEWEST_FIRST, NOT_DELETED, is_named, selected, snapshot_of
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType

# The keys by which a list may be sorted. Size is that of the captured data, as the API reports it.
SORT_KEYS = {
    "name": func.lower(snapshots.c.name),
    "started": snapshots.c.started,
    "finished": snapshots.c.finished,
    "size": snapshots.c.plain_bytes,
    "status": snapshots.c.status,
    "type": snapshots.c.type,
}


def list_snapshots(
    transaction: Transaction,
    project: str,
    limit: int,
    after: Snapshot | None = None,
    cluster_id: str | None = None,
) -> list[Snapshot]:
    """Up to `limit` of the project's snapshots, or of its cluster's, the newest first; those that follow `after`."""
    query = _first_of_project() if after is None else _next_of_project()
    if cluster_id is not None:
        query = query.where(snapshots.c.cluster_id == cluster_id)
    place = {} if after is None else {"started": after.started, "id": after.id}
    rows = transaction.execute(query, {"project": project, "most": limit, **place})
    return [snapshot_of(row) for row in rows.all()]  # at once: row by row takes longer


def find_all(transaction: Transaction, project: str, ids: Sequence[str]) -> list[Snapshot]:
    """The project's snapshots of these ids that are not in the trash, the newest first."""
    query = selected().where(snapshots.c.project == project, snapshots.c.id.in_(ids), NOT_DELETED)
    return [snapshot_of(row) for row in transaction.execute(query.order_by(*NEWEST_FIRST))]


def damaged(transaction: Transaction, project: str, ids: Sequence[str] | None = None) -> list[Snapshot]:
    """The project's snapshots that have lost something, of these ids if they are given, the newest first."""
    lossy = snapshots.c.id.in_(select(losses.c.snapshot_id))
    query = selected().where(snapshots.c.project == project, lossy, NOT_DELETED).order_by(*NEWEST_FIRST)
    if ids is not None:
        query = query.where(snapshots.c.id.in_(ids))
    return [snapshot_of(row) for row in transaction.execute(query)]


def find_by_name(transaction: Transaction, project: str, name: str) -> Snapshot | None:
    """The project's snapshot of that name, in upper or lower case, unless it is in the trash."""
    row = transaction.execute(selected().where(is_named(project, name))).one_or_none()
    return None if row is None else snapshot_of(row)


def available_of_cluster(transaction: Transaction, cluster_id: str) -> list[Snapshot]:
    """The snapshots that can be restored and are not in the trash, the newest first."""
    query = selected().where(
        snapshots.c.cluster_id == cluster_id, snapshots.c.status == SnapshotStatus.AVAILABLE, NOT_DELETED
    )
    return [snapshot_of(row) for row in transaction.execute(query.order_by(*NEWEST_FIRST))]


def page_of_cluster(
    transaction: Transaction,
    cluster_id: str,
    *,
    sort_key: str,
    descending: bool,
    limit: int | None,
    skip: int,
) -> tuple[list[Snapshot], int]:
    """One page of a cluster's snapshots, and their number in all."""
    mine = (snapshots.c.cluster_id == cluster_id) & NOT_DELETED
    # The id makes pages of equal keys disjoint. It follows the column's direction, so one index serves both.
    column, then = (
        each.desc() if descending else each.asc() for each in (SORT_KEYS[sort_key], snapshots.c.id)
    )
    return _page(transaction, mine, sort_key, (column, then), limit, skip)


def page_of_project(
    transaction: Transaction,
    project: str,
    *,
    cluster_id: str | None,
    status: SnapshotStatus | None,
    since: datetime | None,
    sort_key: str,
    descending: bool,
    limit: int | None,
    skip: int,
) -> tuple[list[Snapshot], int]:
    """One page of those of the project's snapshots that are chosen, and the number of these in all.

    `since` chooses by the begin. All that are not None must hold.
    """
    chosen = [snapshots.c.project == project, NOT_DELETED]
    if cluster_id is not None:
        chosen.append(snapshots.c.cluster_id == cluster_id)
    if status is not None:
        chosen.append(snapshots.c.status == status)
    if since is not None:
        chosen.append(snapshots.c.started >= since)
    # The id runs against the column, as in the index of a project's newest, which serves both directions too.
    column, then = SORT_KEYS[sort_key], snapshots.c.id
    order = (column.desc(), then.asc()) if descending else (column.asc(), then.desc())
    return _page(transaction, and_(*chosen), sort_key, order, limit, skip)


def _page(
    transaction: Transaction,
    mine: ColumnElement[bool],
    sort_key: str,
    order: tuple[ColumnElement[Any], ColumnElement[Any]],
    limit: int | None,
    skip: int,
) -> tuple[list[Snapshot], int]:
    total = transaction.execute(select(func.count()).select_from(snapshots).where(mine)).scalar_one()
    column, then = order
    if sort_key == "finished":
        column = column.nulls_last()  # the two databases differ on where NULL sorts
    query = selected().where(mine).order_by(column, then).limit(limit).offset(skip)
    return [snapshot_of(row) for row in transaction.execute(query)], total


def for_retention(
    transaction: Transaction, cluster_id: str, started_by: datetime, now: datetime
) -> list[Snapshot]:
    """The cluster's automated snapshots that are as old as that, and the newest usable one, the newest first."""
    kept = last_good(transaction, cluster_id, now)
    is_old = (snapshots.c.started <= started_by) | (snapshots.c.id == kept)
    query = selected().where(_automated(cluster_id), is_old)
    return [snapshot_of(row) for row in transaction.execute(query.order_by(*NEWEST_FIRST))]


def last_good(transaction: Transaction, cluster_id: str, now: datetime) -> str:
    """The id of the cluster's newest automated snapshot that can be restored, or ""."""
    # As `domain/retention.py` chooses it: one from the future, taken under a wrong clock, only if there is no other.
    query = (
        select(snapshots.c.id)
        .where(_automated(cluster_id), snapshots.c.status == SnapshotStatus.AVAILABLE)
        .order_by((snapshots.c.started <= now).desc(), snapshots.c.started.desc(), snapshots.c.id.desc())
        .limit(1)
    )
    return transaction.execute(query).scalar_one_or_none() or ""


def automated_of_cluster(transaction: Transaction, cluster_id: str) -> list[Snapshot]:
    """All automated snapshots of a cluster that are not in the trash, the newest first."""
    query = selected().where(_automated(cluster_id)).order_by(*NEWEST_FIRST)
    return [snapshot_of(row) for row in transaction.execute(query)]


def _automated(cluster_id: str) -> ColumnElement[bool]:
    return (snapshots.c.cluster_id == cluster_id) & (snapshots.c.type == SnapshotType.AUTO) & NOT_DELETED


def snapshots_where(transaction: Transaction, *conditions: ColumnElement[bool]) -> list[Snapshot]:
    """Any snapshots, including those in the trash."""
    query = selected().where(*conditions).order_by(*NEWEST_FIRST)
    return [snapshot_of(row) for row in transaction.execute(query)]


@cache
def _first_of_project() -> Select[Any]:
    mine = snapshots.c.project == bindparam("project")
    return selected().where(mine, NOT_DELETED).order_by(*NEWEST_FIRST).limit(bindparam("most"))


@cache
def _next_of_project() -> Select[Any]:
    """Continue at a place in the order, not at a number of rows: one added or deleted meanwhile shifts nothing."""
    started: BindParameter[Any] = bindparam("started")
    id_: BindParameter[Any] = bindparam("id")
    follows = (snapshots.c.started < started) | ((snapshots.c.started == started) & (snapshots.c.id > id_))
    # Said twice, because a database finds its place in an index only by the plain condition.
    return _first_of_project().where(snapshots.c.started <= started, follows)
