"""Requests about a cluster's automated snapshots: policies, retention, and the storage that all snapshots take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from stillhouse.catalog import clusters, snapshot_policies, snapshots
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import audited
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.control.lookup import known_cluster
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.schedule import parse
from stillhouse.domain.snapshot_policies import (
    DEFAULTS,
    LEAST_KEEP_DAY,
    MOST_KEEP_DAY,
    MOST_OF_CLUSTER,
    BackupSettings,
    BackupType,
    Policy,
    check_schedule,
)
from stillhouse.errors import InvalidInput

_DEVICE = "OBS"
_LEVEL = "cluster"
_GB = 1024**3


@dataclass(frozen=True)
class Strategy:
    """One policy as a caller sends it: a new one without an id, else a change of the given fields."""

    policy_id: str | None = None
    name: str | None = None
    schedule: str | None = None
    backup_type: BackupType | None = None
    level: str | None = None
    time_zone_offset: int | None = None


@dataclass(frozen=True)
class Storage:
    """Bytes that a cluster's snapshots take in the repository, how many of them count as free, and the rest."""

    free: int
    paid: int
    used: int


def set_policies(
    context: CatalogContext,
    project: str,
    cluster_id: str,
    strategies: Sequence[Strategy] = (),
    *,
    keep_day: int | None = None,
    auto_backup: bool | None = None,
    device: str | None = None,
) -> None:
    """Add or change these policies and settings, all or nothing; others stay as they are."""
    with audited(context, project, "CreateSnapshotPolicy", f"cluster/{cluster_id}") as transaction:
        if device is not None and device.upper() != _DEVICE:
            raise InvalidInput(f"device_name must be {_DEVICE}: snapshots are kept in the repository")
        if keep_day is not None and not LEAST_KEEP_DAY <= keep_day <= MOST_KEEP_DAY:
            raise InvalidInput(f"keep_day must be between {LEAST_KEEP_DAY} and {MOST_KEEP_DAY}")
        cluster = _locked_cluster(transaction, project, cluster_id)
        now = context.clock.now()
        _set_settings(transaction, cluster, keep_day, auto_backup, now)
        for strategy in strategies:
            _set_policy(transaction, cluster, strategy, now)
        if len(snapshot_policies.list_policies(transaction, cluster.id)) > MOST_OF_CLUSTER:
            raise InvalidInput(f"a cluster has at most {MOST_OF_CLUSTER} policies", hint="delete one first")


def list_policies(
    context: CatalogContext, project: str, cluster_id: str
) -> tuple[BackupSettings, list[Policy]]:
    """List the cluster's policies. A cluster that was never given any takes no automated snapshots."""
    with context.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
        settings = snapshot_policies.find_settings(reading, cluster.id) or BackupSettings(auto_backup=False)
        return settings, snapshot_policies.list_policies(reading, cluster.id)


def delete_policy(context: CatalogContext, project: str, cluster_id: str, policy_id: str) -> None:
    """Remove a policy; one that is not there is removed already. Its snapshots stay until their days are over."""
    resource = f"cluster/{cluster_id}/policy/{policy_id}"
    with audited(context, project, "DeleteSnapshotPolicy", resource) as transaction:
        cluster = _locked_cluster(transaction, project, cluster_id)
        mine = [policy.id for policy in snapshot_policies.list_policies(transaction, cluster.id)]
        if policy_id.lower() in mine:
            snapshot_policies.skip_waiting(transaction, [policy_id.lower()], "its policy was deleted")
            snapshot_policies.delete_policy(transaction, policy_id.lower())


def add_default_policies(transaction: Transaction, cluster_id: str, now: datetime) -> None:
    """Add the policies that a new cluster begins with, in the transaction that makes it."""
    snapshot_policies.save_settings(transaction, cluster_id, BackupSettings(), now)
    for name, schedule, backup_type in DEFAULTS:
        policy = Policy(new_uuid(), cluster_id, name, schedule, backup_type, 0, now, now)
        snapshot_policies.insert_policy(transaction, policy)


def storage_statistics(context: CatalogContext, project: str, cluster_id: str) -> Storage:
    with context.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
        used = snapshots.stored_in_all(reading, cluster.id)
    free = cluster.number_of_node * context.settings.free_gb_per_node * _GB
    return Storage(free=free, paid=max(0, used - free), used=used)


def _locked_cluster(transaction: Transaction, project: str, cluster_id: str) -> Cluster:
    clusters.lock_cluster(transaction, known_cluster(transaction, project, cluster_id).id)
    return known_cluster(transaction, project, cluster_id)


def _set_settings(
    transaction: Transaction, cluster: Cluster, keep_day: int | None, auto_backup: bool | None, now: datetime
) -> None:
    before = snapshot_policies.find_settings(transaction, cluster.id)
    after = before or BackupSettings()
    if keep_day is not None:
        after = replace(after, keep_day=keep_day)
    if auto_backup is not None:
        after = replace(after, auto_backup=auto_backup)
    if after == before:
        return
    snapshot_policies.save_settings(transaction, cluster.id, after, now)
    mine = [policy.id for policy in snapshot_policies.list_policies(transaction, cluster.id)]
    if before is not None and after.auto_backup and not before.auto_backup:
        snapshot_policies.count_from(
            transaction, mine, now
        )  # runs that fell due while they were off are not made up for
    if not after.auto_backup:
        snapshot_policies.skip_waiting(transaction, mine, "automated snapshots were switched off")


def _set_policy(transaction: Transaction, cluster: Cluster, strategy: Strategy, now: datetime) -> None:
    if strategy.level not in (None, "", _LEVEL):
        raise InvalidInput(
            f"backup_level must be {_LEVEL}: whole clusters are snapshot, restores may be partial"
        )
    if strategy.name is not None:
        names.check_policy_name(strategy.name)
    if strategy.schedule is not None:
        check_schedule(parse(strategy.schedule), now)
    if strategy.policy_id:
        snapshot_policies.update_policy(transaction, _changed(transaction, cluster, strategy, now))
        return
    if strategy.name is None or strategy.schedule is None or strategy.backup_type is None:
        raise InvalidInput("a new policy needs policy_name, backup_strategy and backup_type")
    policy = Policy(
        id=new_uuid(),
        cluster_id=cluster.id,
        name=strategy.name,
        schedule=strategy.schedule,
        backup_type=strategy.backup_type,
        time_zone_offset=strategy.time_zone_offset or 0,
        since=now,
        updated=now,
    )
    snapshot_policies.insert_policy(transaction, policy)


def _changed(transaction: Transaction, cluster: Cluster, strategy: Strategy, now: datetime) -> Policy:
    mine = {policy.id: policy for policy in snapshot_policies.list_policies(transaction, cluster.id)}
    before = mine.get((strategy.policy_id or "").lower())
    if before is None:
        raise InvalidInput("policy_id: the cluster has no such policy")
    after = replace(
        before,
        name=strategy.name if strategy.name is not None else before.name,
        schedule=strategy.schedule if strategy.schedule is not None else before.schedule,
        backup_type=strategy.backup_type or before.backup_type,
        time_zone_offset=before.time_zone_offset
        if strategy.time_zone_offset is None
        else strategy.time_zone_offset,
        updated=now,
    )
    if after.schedule == before.schedule:
        return after
    snapshot_policies.skip_waiting(transaction, [before.id], "its policy's schedule was changed")
    return replace(after, since=now)  # the new schedule's past is not made up for
