"""A copy of the repository's records of findings, by cluster: requests read it without waiting for the store."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, or_, select, update

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import clusters, findings, losses, snapshots
from stillhouse.domain.reports.damage import KnownDamage, Lines
from stillhouse.domain.snapshot import SnapshotStatus


def due(transaction: Transaction, before: datetime) -> list[str]:
    """Clusters, deleted ones too, that have a snapshot to lose and were not looked at since `before`."""
    query = (
        select(snapshots.c.cluster_id)
        .distinct()
        .outerjoin(findings, findings.c.cluster_id == snapshots.c.cluster_id)
        .where(
            snapshots.c.status == SnapshotStatus.AVAILABLE,
            or_(findings.c.looked.is_(None), findings.c.looked < before),
        )
        .order_by(snapshots.c.cluster_id)
    )
    return list(transaction.execute(query).scalars())


def known(transaction: Transaction, cluster_id: str) -> KnownDamage | None:
    """The findings of a cluster; None if it was never looked at."""
    row = transaction.execute(select(findings).where(findings.c.cluster_id == cluster_id)).one_or_none()
    return None if row is None else KnownDamage(row.records, row.is_worked_out, row.objects)


def is_worked_out(transaction: Transaction, cluster_id: str) -> bool:
    """Whether the cost of all damage is known."""
    query = select(findings.c.is_worked_out).where(findings.c.cluster_id == cluster_id)
    return transaction.execute(query).scalar_one_or_none() is not False


def note_look(transaction: Transaction, cluster_id: str, now: datetime) -> None:
    """Record a look that found nothing new."""
    transaction.execute(update(findings).where(findings.c.cluster_id == cluster_id).values(looked=now))


def put(
    transaction: Transaction,
    cluster_id: str,
    now: datetime,
    said: KnownDamage,
    costs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Replace the findings of a cluster. `costs` are by snapshot; snapshots missing from the catalog are left out."""
    transaction.execute(delete(findings).where(findings.c.cluster_id == cluster_id))
    transaction.execute(delete(losses).where(losses.c.cluster_id == cluster_id))
    row = {"cluster_id": cluster_id, "looked": now, "records": list(said.records)}
    transaction.execute(
        insert(findings), row | {"is_worked_out": said.is_worked_out, "objects": said.objects}
    )
    there = select(snapshots.c.id).where(snapshots.c.cluster_id == cluster_id)
    for snapshot_id in transaction.execute(there.order_by(snapshots.c.id)).scalars().all():
        if snapshot_id in costs:
            transaction.execute(
                insert(losses),
                {"snapshot_id": snapshot_id, "cluster_id": cluster_id, "nodes": costs[snapshot_id]},
            )


def loss_of(transaction: Transaction, snapshot_id: str) -> Lines | None:
    """The known losses of a snapshot; None when it has no losses."""
    query = select(losses.c.nodes).where(losses.c.snapshot_id == snapshot_id)
    found: Lines | None = transaction.execute(query).scalar_one_or_none()
    return found


def of_project(transaction: Transaction, project: str) -> dict[str, KnownDamage]:
    """The findings of each cluster with known damage, deleted clusters included."""
    query = (
        select(findings)
        .join(clusters, clusters.c.id == findings.c.cluster_id)
        .where(clusters.c.project == project)
        .order_by(findings.c.cluster_id)
    )
    return {
        row.cluster_id: KnownDamage(row.records, row.is_worked_out, row.objects)
        for row in transaction.execute(query)
        if row.objects
    }
