"""Figures of all clusters at once, for the metrics: a grouped query for each, and no row per snapshot.

All times are moments, so that the figures hold until somebody commits a change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, ScalarSelect, and_, case, func, literal, or_, select, union_all

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import (
    backup_settings,
    clusters,
    findings,
    losses,
    operations,
    policies,
    policy_runs,
    proof_schedules,
    proofs,
    snapshots,
)
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.proof import ProofState
from stillhouse.domain.reports.failure import CANCELLED
from stillhouse.domain.reports.operations import DONE, EMPTIED, LEFT
from stillhouse.domain.snapshot import SnapshotStatus, SnapshotType
from stillhouse.domain.snapshot_policies import Outcome

TRASH = "trash"
_long_ago = literal(datetime(1970, 1, 1, tzinfo=UTC), snapshots.c.started.type)


@dataclass(frozen=True)
class Known:
    """A cluster that is there, or has snapshots."""

    id: str
    name: str
    project: str
    status: ClusterStatus
    created: datetime


@dataclass(frozen=True)
class Held:
    """The snapshots of a cluster in one state: that of the catalog, or TRASH."""

    cluster_id: str
    state: str
    count: int
    stored_bytes: int
    own_bytes: int
    oldest_deletion: datetime | None


@dataclass(frozen=True)
class SkippedRun:
    """A run of a policy that was skipped after the cluster's newest good automated snapshot ended, if there is one."""

    cluster_id: str
    due: datetime
    is_once: bool
    automated_ended: datetime | None


def known_clusters(transaction: Transaction) -> list[Known]:
    has_snapshots = clusters.c.id.in_(select(snapshots.c.cluster_id))
    query = select(
        clusters.c.id, clusters.c.name, clusters.c.project, clusters.c.status, clusters.c.created
    ).where(or_(clusters.c.deleted.is_(None), has_snapshots))
    return [
        Known(row.id, row.name, row.project, ClusterStatus(row.status), row.created)
        for row in transaction.execute(query.order_by(clusters.c.id))
    ]


def held(transaction: Transaction) -> list[Held]:
    state = case((snapshots.c.deleted.is_not(None), TRASH), else_=snapshots.c.status).label("state")
    query = select(
        snapshots.c.cluster_id,
        state,
        func.count().label("count"),
        func.sum(snapshots.c.stored_bytes).label("stored"),
        func.sum(snapshots.c.own_bytes).label("own"),
        func.min(snapshots.c.deleted, type_=snapshots.c.deleted.type).label("oldest"),
    ).group_by(snapshots.c.cluster_id, state)
    return [
        Held(row.cluster_id, row.state.lower(), row[2], int(row.stored or 0), int(row.own or 0), row.oldest)
        for row in transaction.execute(query)
    ]


def last_good(transaction: Transaction) -> dict[str, tuple[datetime, int]]:
    """When the newest snapshot that can be restored, and has lost nothing, began; and the size of its data."""
    query = select(
        clusters.c.id,
        _of_last_good(snapshots.c.started).label("started"),
        _of_last_good(snapshots.c.plain_bytes).label("bytes"),
    )
    return {row.id: (row.started, row.bytes) for row in transaction.execute(query) if row.started is not None}


def failed_since(transaction: Transaction) -> dict[tuple[str, str], int]:
    """How many snapshots failed since the last good one, by cluster and code. Cancelled ones have not failed."""
    began = func.coalesce(_of_last_good(snapshots.c.started), _long_ago)
    failed = snapshots.alias("failed")
    # An outer join, which SQLite begins with the few clusters: all conditions are searched for in an index.
    is_later = and_(
        failed.c.cluster_id == clusters.c.id,
        failed.c.deleted.is_(None),
        failed.c.status == SnapshotStatus.UNAVAILABLE,
        failed.c.failed_code != CANCELLED,
        failed.c.started > began,
    )
    query = (
        select(clusters.c.id, failed.c.failed_code, func.count(failed.c.id).label("count"))
        .select_from(clusters)
        .outerjoin(failed, is_later)
        .group_by(clusters.c.id, failed.c.failed_code)
    )
    return {(row.id, row.failed_code or "unknown"): row[2] for row in transaction.execute(query) if row[2]}


def damaged_objects(transaction: Transaction) -> dict[str, int]:
    rows = transaction.execute(select(findings.c.cluster_id, findings.c.objects))
    return {cluster: len(objects) for cluster, objects in rows}


def damaged_snapshots(transaction: Transaction) -> dict[str, int]:
    query = select(losses.c.cluster_id, func.count()).group_by(losses.c.cluster_id)
    return {row[0]: row[1] for row in transaction.execute(query)}


def last_proved(transaction: Transaction) -> dict[str, datetime]:
    """When the last proof of a snapshot of the cluster that proved it ended."""
    ended = func.max(proofs.c.ended, type_=proofs.c.ended.type)
    query = (
        select(snapshots.c.cluster_id, ended)
        .join(snapshots, snapshots.c.id == proofs.c.snapshot_id)
        .where(proofs.c.state == ProofState.PROVED)
        .group_by(snapshots.c.cluster_id)
    )
    return {row[0]: row[1] for row in transaction.execute(query)}


def last_proofs(transaction: Transaction) -> dict[str, ProofState]:
    """How the cluster's last proof that has ended did so."""
    last = (
        select(snapshots.c.cluster_id, func.max(proofs.c.ended).label("ended"))
        .join(snapshots, snapshots.c.id == proofs.c.snapshot_id)
        .group_by(snapshots.c.cluster_id)
        .subquery()
    )
    query = (
        select(snapshots.c.cluster_id, proofs.c.state)
        .join(snapshots, snapshots.c.id == proofs.c.snapshot_id)
        .join(last, and_(last.c.cluster_id == snapshots.c.cluster_id, last.c.ended == proofs.c.ended))
        .order_by(proofs.c.id)
    )
    return {row[0]: ProofState(row[1]) for row in transaction.execute(query)}


def proof_schedules_since(transaction: Transaction) -> dict[str, tuple[int, datetime]]:
    """Every how many days a cluster's snapshots are to be proved, and since when; of clusters with a schedule."""
    query = (
        select(proof_schedules.c.cluster_id, proof_schedules.c.every_days, proof_schedules.c.updated)
        .join(clusters, clusters.c.id == proof_schedules.c.cluster_id)
        .where(clusters.c.deleted.is_(None), proof_schedules.c.every_days > 0)
    )
    return {row[0]: (row[1], row[2]) for row in transaction.execute(query)}


def skipped_runs(transaction: Transaction) -> list[SkippedRun]:
    """The skipped runs of active policies since the last good automated snapshot: few, unless nothing succeeds."""
    automated = (
        select(
            snapshots.c.cluster_id,
            func.max(snapshots.c.finished, type_=snapshots.c.finished.type).label("ended"),
        )
        .where(snapshots.c.type == SnapshotType.AUTO, snapshots.c.status == SnapshotStatus.AVAILABLE)
        .group_by(snapshots.c.cluster_id)
        .subquery()
    )
    query = (
        select(policies.c.cluster_id, policy_runs.c.due, policy_runs.c.is_once, automated.c.ended)
        .select_from(policies)
        .join(backup_settings, backup_settings.c.cluster_id == policies.c.cluster_id)
        .join(clusters, clusters.c.id == policies.c.cluster_id)
        .outerjoin(automated, automated.c.cluster_id == policies.c.cluster_id)
        .join(
            policy_runs,
            and_(
                policy_runs.c.policy_id == policies.c.id,
                policy_runs.c.due > func.coalesce(automated.c.ended, policies.c.since),
            ),
        )
        .where(
            backup_settings.c.auto_backup,
            clusters.c.deleted.is_(None),
            policy_runs.c.outcome == Outcome.SKIPPED,
            policy_runs.c.due > policies.c.since,
        )
    )
    return [SkippedRun(*row) for row in transaction.execute(query)]


def collections(transaction: Transaction) -> dict[str, tuple[datetime, int, int]]:
    """When a cluster's last collection that was carried out ended, and the objects and bytes that it left."""
    last = (
        select(operations.c.cluster_id, func.max(operations.c.ended).label("ended"))
        .where(_collected())
        .group_by(operations.c.cluster_id)
        .subquery()
    )
    query = (
        select(operations.c.cluster_id, operations.c.ended, operations.c.detail)
        .join(last, and_(last.c.cluster_id == operations.c.cluster_id, last.c.ended == operations.c.ended))
        .where(_collected())
    )
    return {row.cluster_id: (row.ended, *row.detail.get(LEFT, (0, 0))) for row in transaction.execute(query)}


def clusters_of(transaction: Transaction, subjects: Sequence[str]) -> dict[str, str]:
    """The clusters of these snapshots, operations and proofs, by their ids."""
    query = union_all(
        select(snapshots.c.id, snapshots.c.cluster_id).where(snapshots.c.id.in_(subjects)),
        select(operations.c.id, operations.c.cluster_id).where(operations.c.id.in_(subjects)),
        select(proofs.c.id, snapshots.c.cluster_id)
        .join(snapshots, snapshots.c.id == proofs.c.snapshot_id)
        .where(proofs.c.id.in_(subjects)),
    )
    return {row[0]: row[1] for row in transaction.execute(query)}


def _of_last_good(column: Column[Any]) -> ScalarSelect[Any]:
    """A column of the cluster's last good snapshot. An index of the begins ends the search at the first one."""
    one = snapshots.alias("one")
    return (
        select(one.c[column.name])
        .where(
            one.c.cluster_id == clusters.c.id,
            one.c.status == SnapshotStatus.AVAILABLE,
            one.c.deleted.is_(None),
            one.c.id.not_in(select(losses.c.snapshot_id)),
        )
        .order_by(one.c.started.desc(), one.c.id.desc())
        .limit(1)
        .correlate(clusters)
        .scalar_subquery()
    )


def _collected() -> ColumnElement[bool]:
    of_collections: Any = operations.c.kind == Task.COLLECTING
    return and_(of_collections, operations.c.outcome.in_([DONE, EMPTIED]))
