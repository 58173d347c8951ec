"""The timer's duties for automated snapshots: take those that are due, and delete those past their retention."""

from datetime import datetime, timedelta
from functools import partial

from stillhouse import log
from stillhouse.catalog import (
    clusters,
    operations,
    snapshot_lists,
    snapshot_policies,
    snapshot_queue,
    snapshots,
)
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import ACCEPTED, record
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots.queue import take
from stillhouse.control.snapshots.requests import new_snapshot
from stillhouse.control.timer import attempt
from stillhouse.domain import retention
from stillhouse.domain.cluster import Cluster, ClusterStatus, Task
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.retention import Verdict
from stillhouse.domain.schedule import parse
from stillhouse.domain.snapshot import SnapshotType
from stillhouse.domain.snapshot_policies import Decision, Outcome, Policy, Run, Situation, decide

# The part of the longest name that is left for the cluster's name, beside the snapshot's own part.
_CLUSTER_NAME_LIMIT = 40


def start_due_snapshots(place: FlowContext, now: datetime) -> None:
    """Note the runs that have fallen due, cluster by cluster, and take, leave waiting or skip each noted run."""
    control = place.control
    scheduled: dict[str, list[tuple[Policy, datetime | None]]] = {}
    with control.database.reading() as reading:
        waiting = {run.cluster_id for run in snapshot_policies.waiting_runs(reading)}
        for policy, known in snapshot_policies.scheduled(reading, now):
            scheduled.setdefault(policy.cluster_id, []).append((policy, known))

    def look_at(cluster_id: str) -> None:
        """Look at one cluster. Most looks end here: no transaction that may write begins if there is nothing to do."""
        mine = scheduled.get(cluster_id, [])
        if cluster_id in waiting or any(
            policy.since > now or _due(policy, known, now) for policy, known in mine
        ):
            _advance(control, cluster_id, now)

    for cluster_id in sorted(waiting | scheduled.keys()):
        attempt(f"automated snapshots of {cluster_id}", partial(look_at, cluster_id))


def start_due_retention(place: FlowContext, now: datetime) -> None:
    """Move automated snapshots past their retention to the trash, cluster by cluster."""
    control = place.control
    with control.database.reading() as reading:
        concerned = [
            cluster_id
            for cluster_id, keep_day in snapshot_policies.kept_days(reading).items()
            if snapshot_policies.has_automated_before(reading, cluster_id, now - timedelta(days=keep_day))
            and any(verdict.expires for verdict in _verdicts(reading, cluster_id, keep_day, now))
        ]
    for cluster_id in concerned:
        attempt(f"retention of {cluster_id}", partial(_expire, control, cluster_id, now))


def _due(policy: Policy, known: datetime | None, now: datetime) -> datetime | None:
    """Return the policy's newest due time that is not noted yet. Earlier missed runs are covered by this one."""
    return parse(policy.schedule).latest(max(policy.since, known or policy.since), now)


def _advance(control: Control, cluster_id: str, now: datetime) -> None:
    with control.database.transaction() as transaction:
        clusters.lock_cluster(transaction, cluster_id)
        for policy, known in snapshot_policies.scheduled(transaction, now, cluster_id):
            _note_due(transaction, policy, known, now)
        cluster = clusters.read_cluster(transaction, cluster_id)
        waiting = snapshot_policies.waiting_runs(transaction, cluster_id)
        for decision in decide(waiting, _situation(transaction, cluster, now), now):
            _carry_out(control, transaction, cluster, decision, now)


def _note_due(transaction: Transaction, policy: Policy, known: datetime | None, now: datetime) -> None:
    if policy.since > now:
        # `since` was set while the clock was ahead. Without this the policy would sleep until then.
        snapshot_policies.count_from(transaction, [policy.id], now)
        return
    due = _due(policy, known, now)
    if due is None:
        return
    snapshot_policies.skip_waiting(
        transaction, [policy.id], f"missed: the run due at {due:%Y-%m-%dT%H:%M:%SZ} stands for it"
    )
    snapshot_policies.insert_run(transaction, Run.of(policy, due, now))


def _situation(transaction: Transaction, cluster: Cluster, now: datetime) -> Situation:
    operation = operations.active(transaction, cluster.id)
    return Situation(
        blocked=_blocked(cluster, len(snapshot_queue.waiting(transaction, cluster.id))),
        automated_ended=snapshot_policies.automated_ended(transaction, cluster.id, now),
        automated_runs=operation is not None
        and operation.kind is Task.SNAPSHOTTING
        and snapshots.read_snapshot(transaction, operation.subject_id).type is SnapshotType.AUTO,
    )


def _blocked(cluster: Cluster, queued: int) -> str:
    """Return the reason to wait. Requested snapshots go first, and a run never waits in their queue."""
    if cluster.status is not ClusterStatus.AVAILABLE:
        return f"the cluster is in state {cluster.status}"
    if cluster.stopped:
        return "the cluster is stopped"
    line = f"snapshots that were asked for wait: {queued}" if queued else ""
    if cluster.task is not None:
        return f"the cluster is busy: {cluster.task}" + (f", and {line}" if line else "")
    return line


def _carry_out(
    control: Control, transaction: Transaction, cluster: Cluster, decision: Decision, now: datetime
) -> None:
    """End the run and make the snapshot's row and flow at once: neither kill -9 nor a second timer takes two."""
    run = decision.run
    told = f"policy {run.policy_name}, due at {run.due:%Y-%m-%dT%H:%M:%SZ}"
    resource = f"cluster/{cluster.id}/policy/{run.policy_id}"
    if decision.outcome is Outcome.TAKEN:
        snapshot_id = new_uuid()
        if snapshot_policies.end_run(transaction, decision, snapshot_id):
            name = _name(transaction, cluster, run, snapshot_id)
            take(control, transaction, new_snapshot(cluster, snapshot_id, SnapshotType.AUTO, now, name))
            resource = f"cluster/{cluster.id}/snapshot/{snapshot_id}"
            record(control, transaction, cluster.project, "CreateSnapshot", resource, ACCEPTED, told)
    elif decision.outcome is Outcome.SKIPPED and snapshot_policies.end_run(transaction, decision):
        detail = f"{told}: {decision.reason}"
        record(control, transaction, cluster.project, "CreateSnapshot", resource, decision.outcome, detail)
        log.get("automated").warning("run skipped", cluster=cluster.id, policy=run.policy_id, reason=detail)


def _name(transaction: Transaction, cluster: Cluster, run: Run, snapshot_id: str) -> str:
    """Return the cluster's name and the due time, as DWS names automated snapshots; longer only if that is taken."""
    name = f"{cluster.name[:_CLUSTER_NAME_LIMIT]}-auto-{run.due:%Y%m%d%H%M%S}"
    is_free = not snapshots.is_name_taken(transaction, cluster.project, name)
    return name if is_free else f"{name[:59]}-{snapshot_id[:4]}"


def _verdicts(transaction: Transaction, cluster_id: str, keep_day: int, now: datetime) -> list[Verdict]:
    """Judge the snapshots that may be due. The others are not read: a cluster may have thousands."""
    old = now - timedelta(days=keep_day)
    return retention.plan(snapshot_lists.for_retention(transaction, cluster_id, old, now), keep_day, now)


def _expire(control: Control, cluster_id: str, now: datetime) -> None:
    with control.database.transaction() as transaction:
        clusters.lock_cluster(transaction, cluster_id)
        cluster = clusters.read_cluster(transaction, cluster_id)
        settings = snapshot_policies.find_settings(transaction, cluster_id)
        if settings is None or cluster.status is ClusterStatus.DELETING:
            return
        snapshots.lock_snapshots(transaction, cluster_id)
        for verdict in _verdicts(transaction, cluster_id, settings.keep_day, now):
            if verdict.expires:
                resource = f"cluster/{cluster_id}/snapshot/{verdict.snapshot.id}"
                snapshots.move_to_trash(transaction, verdict.snapshot.id, now)
                control.flows.enqueue(transaction, "delete_snapshot", verdict.snapshot.id)
                record(
                    control, transaction, cluster.project, "ExpireSnapshot", resource, ACCEPTED, verdict.why
                )
