"""Proofs of snapshots, their results, and the schedules that start them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog.schema.database import Transaction, violates
from stillhouse.catalog.schema.tables import clusters, one_active_proof, proof_schedules, proofs, snapshots
from stillhouse.domain.proof import Proof, ProofSchedule, ProofState
from stillhouse.errors import InternalError, StateForbids


def begin(transaction: Transaction, proof: Proof) -> None:
    """Begin a proof. Raises StateForbids while another proof of the snapshot runs."""
    row = {
        "id": proof.id,
        "snapshot_id": proof.snapshot_id,
        "state": proof.state,
        "access_key": proof.access_key,
        "progress": proof.progress,
        "started": proof.started,
        "report": proof.report,
    }
    try:
        transaction.execute(insert(proofs), row)
    except IntegrityError as error:
        if violates(error, one_active_proof):
            raise StateForbids(f"snapshot {proof.snapshot_id} is being proved") from error
        raise


def read(transaction: Transaction, proof_id: str) -> Proof:
    row = transaction.execute(select(proofs).where(proofs.c.id == proof_id)).one_or_none()
    if row is None:
        raise InternalError(f"proof {proof_id} is not in the catalog")
    return _proof(row)


def latest(transaction: Transaction, snapshot_id: str) -> Proof | None:
    query = select(proofs).where(proofs.c.snapshot_id == snapshot_id)
    row = transaction.execute(query.order_by(proofs.c.started.desc(), proofs.c.id).limit(1)).one_or_none()
    return None if row is None else _proof(row)


def latest_states(
    transaction: Transaction, project: str, snapshot_ids: Sequence[str]
) -> dict[str, ProofState]:
    """The state of the latest proof of each of the project's snapshots of these ids that ever had one."""
    query = (
        select(proofs.c.snapshot_id, proofs.c.state)
        .join(snapshots, snapshots.c.id == proofs.c.snapshot_id)
        .where(snapshots.c.project == project, proofs.c.snapshot_id.in_(snapshot_ids))
        .order_by(proofs.c.started, proofs.c.id.desc())
    )
    return {row.snapshot_id: ProofState(row.state) for row in transaction.execute(query)}


def any_running(transaction: Transaction) -> bool:
    return (
        transaction.execute(select(proofs.c.id).where(proofs.c.ended.is_(None)).limit(1)).first() is not None
    )


def last_begun(transaction: Transaction, cluster_id: str) -> dict[str, datetime]:
    """When a proof last began, for each of the cluster's snapshots that ever had one."""
    query = (
        select(proofs.c.snapshot_id, func.max(proofs.c.started, type_=proofs.c.started.type).label("began"))
        .join(snapshots, snapshots.c.id == proofs.c.snapshot_id)
        .where(snapshots.c.cluster_id == cluster_id)
        .group_by(proofs.c.snapshot_id)
    )
    return {row.snapshot_id: row.began for row in transaction.execute(query)}


def set_progress(transaction: Transaction, proof_id: str, percent: int) -> None:
    """Progress only grows: a step that runs again starts its own count anew."""
    transaction.execute(
        update(proofs).where(proofs.c.id == proof_id, proofs.c.progress < percent).values(progress=percent)
    )


def end(
    transaction: Transaction, proof_id: str, now: datetime, state: ProofState, report: dict[str, Any]
) -> bool:
    """End a proof. False if it had ended before: the caller is a step that runs again."""
    ended = transaction.execute(
        update(proofs)
        .where(proofs.c.id == proof_id, proofs.c.ended.is_(None))
        .values(state=state, report=report, ended=now, progress=100)
    )
    return ended.rowcount == 1


def set_schedule(transaction: Transaction, cluster_id: str, schedule: ProofSchedule, now: datetime) -> None:
    transaction.execute(delete(proof_schedules).where(proof_schedules.c.cluster_id == cluster_id))
    row = {"cluster_id": cluster_id, "every_days": schedule.every_days, "newest_only": schedule.newest_only}
    transaction.execute(insert(proof_schedules), row | {"updated": now})


def schedule_of(transaction: Transaction, cluster_id: str) -> ProofSchedule:
    query = select(proof_schedules).where(proof_schedules.c.cluster_id == cluster_id)
    row = transaction.execute(query).one_or_none()
    return ProofSchedule() if row is None else ProofSchedule(row.every_days, row.newest_only)


def schedules(transaction: Transaction) -> list[tuple[str, ProofSchedule]]:
    """(cluster, schedule) of every cluster that is not deleted and has one."""
    query = (
        select(proof_schedules)
        .join(clusters, clusters.c.id == proof_schedules.c.cluster_id)
        .where(clusters.c.deleted.is_(None), proof_schedules.c.every_days > 0)
        .order_by(proof_schedules.c.cluster_id)
    )
    return [
        (row.cluster_id, ProofSchedule(row.every_days, row.newest_only)) for row in transaction.execute(query)
    ]


def _proof(row: Row[Any]) -> Proof:
    return Proof(
        id=row.id,
        snapshot_id=row.snapshot_id,
        state=ProofState(row.state),
        access_key=row.access_key,
        progress=row.progress,
        started=row.started,
        ended=row.ended,
        report=row.report,
    )
