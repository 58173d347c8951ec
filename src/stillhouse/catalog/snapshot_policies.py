"""Policies of automated snapshots, and the outcome of each of their due times."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog.schema.database import Transaction, violates
from stillhouse.catalog.schema.tables import (
    backup_settings,
    clusters,
    policies,
    policy_name,
    policy_runs,
    snapshots,
)
from stillhouse.domain.snapshot import SnapshotStatus, SnapshotType
from stillhouse.domain.snapshot_policies import BackupSettings, BackupType, Decision, Outcome, Policy, Run
from stillhouse.errors import NameTaken


def find_settings(transaction: Transaction, cluster_id: str) -> BackupSettings | None:
    row = transaction.execute(
        select(backup_settings).where(backup_settings.c.cluster_id == cluster_id)
    ).one_or_none()
    return None if row is None else BackupSettings(row.keep_day, row.auto_backup)


def save_settings(transaction: Transaction, cluster_id: str, settings: BackupSettings, now: datetime) -> None:
    """Save the settings. The caller must have locked the cluster."""
    transaction.execute(delete(backup_settings).where(backup_settings.c.cluster_id == cluster_id))
    transaction.execute(
        insert(backup_settings), asdict(settings) | {"cluster_id": cluster_id, "updated": now}
    )


def kept_days(transaction: Transaction) -> dict[str, int]:
    """Retention in days of each cluster that is not deleted."""
    query = (
        select(backup_settings.c.cluster_id, backup_settings.c.keep_day)
        .join(clusters, clusters.c.id == backup_settings.c.cluster_id)
        .where(clusters.c.deleted.is_(None))
    )
    return {row.cluster_id: row.keep_day for row in transaction.execute(query)}


def list_policies(transaction: Transaction, cluster_id: str) -> list[Policy]:
    query = select(policies).where(policies.c.cluster_id == cluster_id)
    query = query.order_by(policies.c.updated, policies.c.name)
    return [_policy(row) for row in transaction.execute(query)]


def insert_policy(transaction: Transaction, policy: Policy) -> None:
    try:
        transaction.execute(insert(policies), asdict(policy))
    except IntegrityError as error:
        raise _name_taken(error, policy) from error


def update_policy(transaction: Transaction, policy: Policy) -> None:
    try:
        transaction.execute(update(policies).where(policies.c.id == policy.id).values(asdict(policy)))
    except IntegrityError as error:
        raise _name_taken(error, policy) from error


def delete_policy(transaction: Transaction, policy_id: str) -> None:
    """Delete a policy. Its runs stay: they say where snapshots come from."""
    transaction.execute(delete(policies).where(policies.c.id == policy_id))


def count_from(transaction: Transaction, policy_ids: Sequence[str], since: datetime) -> None:
    """Count from `since`, so that earlier due times are not due."""
    transaction.execute(update(policies).where(policies.c.id.in_(policy_ids)).values(since=since))


def scheduled(
    transaction: Transaction, now: datetime, cluster_id: str | None = None
) -> list[tuple[Policy, datetime | None]]:
    """The active policies of one cluster or of all, each with its newest known due time that is not in the future.

    A due time in the future was recorded under a wrong clock, and must not hide earlier ones.
    """
    query = _scheduled()
    if cluster_id is not None:
        query = query.where(policies.c.cluster_id == cluster_id)
    return [(_policy(row), row.known) for row in transaction.execute(query, {"now": now})]


def automated_ended(transaction: Transaction, cluster_id: str, now: datetime) -> datetime | None:
    """When the newest usable automated snapshot ended, including those in the trash, but not in the future."""
    query = select(func.max(snapshots.c.finished)).where(
        snapshots.c.cluster_id == cluster_id,
        snapshots.c.type == SnapshotType.AUTO,
        snapshots.c.status == SnapshotStatus.AVAILABLE,
        snapshots.c.finished <= now,
    )
    ended: datetime | None = transaction.execute(query).scalar_one()
    return ended


def has_automated_before(transaction: Transaction, cluster_id: str, moment: datetime) -> bool:
    """Whether an automated snapshot that is not in the trash is as old as that."""
    return bool(transaction.execute(_old(), {"cluster": cluster_id, "moment": moment}).scalar_one())


# Built once: these are asked every few seconds.


@cache
def _old() -> Select[Any]:
    return select(
        exists().where(
            snapshots.c.cluster_id == bindparam("cluster"),
            snapshots.c.type == SnapshotType.AUTO,
            snapshots.c.started <= bindparam("moment"),
            snapshots.c.deleted.is_(None),
        )
    )


@cache
def _scheduled() -> Select[Any]:
    known = (
        select(func.max(policy_runs.c.due))
        .where(policy_runs.c.policy_id == policies.c.id, policy_runs.c.due <= bindparam("now"))
        .scalar_subquery()
    )
    return (
        select(policies, known.label("known"))
        .join(backup_settings, backup_settings.c.cluster_id == policies.c.cluster_id)
        .join(clusters, clusters.c.id == policies.c.cluster_id)
        .where(backup_settings.c.auto_backup, clusters.c.deleted.is_(None))
        .order_by(policies.c.cluster_id, policies.c.id)
    )


def insert_run(transaction: Transaction, run: Run) -> None:
    """Record a due time, once: the key refuses it a second time."""
    row = asdict(run) | {"outcome": Outcome.WAITING, "reason": ""}
    transaction.execute(insert(policy_runs), row)


def waiting_runs(transaction: Transaction, cluster_id: str | None = None) -> list[Run]:
    query = select(policy_runs).where(policy_runs.c.outcome == Outcome.WAITING)
    if cluster_id is not None:
        query = query.where(policy_runs.c.cluster_id == cluster_id)
    return [_run(row) for row in transaction.execute(query)]


def end_run(transaction: Transaction, decision: Decision, snapshot_id: str | None = None) -> bool:
    """End a run. False if it had ended before: it must not be taken again."""
    ended = transaction.execute(
        update(policy_runs)
        .where(
            policy_runs.c.policy_id == decision.run.policy_id,
            policy_runs.c.due == decision.run.due,
            policy_runs.c.outcome == Outcome.WAITING,
        )
        .values(outcome=decision.outcome, reason=decision.reason, snapshot_id=snapshot_id)
    )
    return ended.rowcount == 1


def skip_waiting(transaction: Transaction, policy_ids: Sequence[str], reason: str) -> None:
    transaction.execute(
        update(policy_runs)
        .where(policy_runs.c.policy_id.in_(policy_ids), policy_runs.c.outcome == Outcome.WAITING)
        .values(outcome=Outcome.SKIPPED, reason=reason)
    )


def _name_taken(error: IntegrityError, policy: Policy) -> Exception:
    if violates(error, policy_name):
        return NameTaken(f"the cluster already has a policy named {policy.name}")
    return error


def _policy(row: Row[Any]) -> Policy:
    return Policy(
        id=row.id,
        cluster_id=row.cluster_id,
        name=row.name,
        schedule=row.schedule,
        backup_type=BackupType(row.backup_type),
        time_zone_offset=row.time_zone_offset,
        since=row.since,
        updated=row.updated,
    )


def _run(row: Row[Any]) -> Run:
    return Run(
        cluster_id=row.cluster_id,
        policy_id=row.policy_id,
        policy_name=row.policy_name,
        schedule=row.schedule,
        due=row.due,
        seen=row.seen,
        is_full=row.is_full,
        is_once=row.is_once,
    )
