"""The flows that make, restart, stop, start and delete clusters, and those that mark a snapshot deleted or not."""

from collections.abc import Callable

from stillhouse import log
from stillhouse.catalog import clusters, operations, snapshots
from stillhouse.catalog.access.access_keys import erase_secret, read_secret
from stillhouse.control.audit import record
from stillhouse.control.clusters.accounts import hand_over_cluster, renew_cluster_functions
from stillhouse.control.clusters.requests import user_pwd_key
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.reaping import reap
from stillhouse.control.reports.operations import count_operation
from stillhouse.domain.cluster import Cluster, ClusterStatus, Task
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import ProvisionFailed, StillhouseError
from stillhouse.repository.objects import roots
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import ClusterSpec
from stillhouse.warehouse.cluster.provider import servers_of
from stillhouse.warehouse.cluster.upgrade import is_due

# The request that an operation carries out, as the audit names it.
_REQUESTS = {
    Task.CREATING: "CreateCluster",
    Task.RESTORING: "RestoreCluster",
    Task.REBOOTING: "RestartCluster",
    Task.STARTING: "StartCluster",
    Task.STOPPING: "StopCluster",
    Task.DELETING: "DeleteCluster",
}


def provision_cluster(place: FlowContext, run: StepRunner, cluster_id: str) -> None:
    operation = run.surely("operation", active_operation, place, cluster_id)
    try:
        run.step("provision", _provision, place, cluster_id)
        run.surely("finish", _finish_provision, place, cluster_id, operation)
    except StillhouseError as error:
        run.surely("fail", _fail_provision, place, cluster_id, operation, Failure.of(error))


def restart_cluster(place: FlowContext, run: StepRunner, cluster_id: str) -> None:
    _change_servers(place, run, cluster_id, "restart", _restart)


def stop_cluster(place: FlowContext, run: StepRunner, cluster_id: str) -> None:
    _change_servers(place, run, cluster_id, "stop", _stop)


def start_cluster(place: FlowContext, run: StepRunner, cluster_id: str) -> None:
    _change_servers(place, run, cluster_id, "start", _start)


def _change_servers(
    place: FlowContext,
    run: StepRunner,
    cluster_id: str,
    what: str,
    change: Callable[[FlowContext, str], None],
) -> None:
    operation = run.surely("operation", active_operation, place, cluster_id)
    try:
        run.step(what, change, place, cluster_id)
        run.surely("finish", finish_operation, place, operation, ClusterStatus.AVAILABLE)
    except StillhouseError as error:
        failed, why = ClusterStatus.FAILED, Failure.of(error)
        run.surely("fail", finish_operation, place, operation, failed, f"{what}.failed", why)


def delete_cluster(place: FlowContext, run: StepRunner, cluster_id: str) -> None:
    operation = run.surely("operation", active_operation, place, cluster_id)
    try:
        run.step("trash", _trash_snapshots, place, cluster_id)
        run.step("destroy", _remove, place, cluster_id)
        run.surely("finish", finish_operation, place, operation, ClusterStatus.DELETED)
    except StillhouseError as error:
        run.surely(
            "fail",
            finish_operation,
            place,
            operation,
            ClusterStatus.DELETE_FAILED,
            "delete.failed",
            Failure.of(error),
        )


def delete_snapshot(place: FlowContext, run: StepRunner, snapshot_id: str) -> None:
    run.surely("mark", settle_mark, place, snapshot_id)


def active_operation(place: FlowContext, cluster_id: str) -> str:
    """Return the cluster's operation. A flow reads it once, in its first step: later steps must end no other."""
    with place.control.database.reading() as reading:
        operation = operations.active(reading, cluster_id)
    assert operation is not None, "a flow's cluster is held by the operation that started it"
    return operation.id


def open_cluster(place: FlowContext, cluster_id: str, operation_id: str) -> None:
    """Hand a new cluster over at work. Start its servers: the service may have stopped them since they were made."""
    with place.control.database.reading() as reading:
        cluster = clusters.read_cluster(reading, cluster_id)
    servers_of(place.site, cluster).have_at_work()
    finish_operation(place, operation_id, ClusterStatus.AVAILABLE)


def finish_operation(
    place: FlowContext,
    operation_id: str,
    status: ClusterStatus,
    failed_code: str = "",
    failure: Failure | None = None,
) -> None:
    """Release the cluster in its next state. After a failure the log and the audit say why too.

    `failed_code` is the kind of operation that failed.
    """
    if failure:
        log.get("cluster").error(
            "operation failed", operation=operation_id, code=failed_code, reason=failure.line
        )
    with place.control.database.transaction() as transaction:
        now = place.control.clock.now()
        has_ended = clusters.end_operation(
            transaction,
            operation_id,
            now,
            ClusterStatus(status),
            failed_code=failed_code,
            failure=failure,
        )
        operation = operations.read(transaction, operation_id)
        cluster = clusters.read_cluster(transaction, operation.cluster_id)
        if has_ended:
            count_operation(operation, now, failure)
        if has_ended and failure:
            action, resource = _REQUESTS[operation.kind], f"cluster/{cluster.id}"
            record(place.control, transaction, cluster.project, action, resource, "failed", failure.line)
    place.control.node_watch.forget(cluster.nodes)


def _provision(place: FlowContext, cluster_id: str) -> None:
    with place.control.database.reading() as reading:
        cluster = clusters.read_cluster(reading, cluster_id)
        password = read_secret(reading, place.control.sealer, user_pwd_key(cluster_id))
    if password is None:
        raise ProvisionFailed(
            f"the password of cluster {cluster_id} is gone", hint="create the cluster again"
        )
    spec = ClusterSpec(cluster_id, cluster.number_of_node, cluster.port, cluster.user_name, password)
    nodes = embedded.provision(place.site, spec)
    with place.control.database.transaction() as transaction:
        clusters.save_nodes(transaction, cluster_id, nodes)


def _finish_provision(place: FlowContext, cluster_id: str, operation_id: str) -> None:
    with place.control.database.transaction() as transaction:
        erase_secret(transaction, user_pwd_key(cluster_id))
    open_cluster(place, cluster_id, operation_id)


def _fail_provision(place: FlowContext, cluster_id: str, operation_id: str, failure: Failure) -> None:
    embedded.destroy(place.site, cluster_id)
    with place.control.database.transaction() as transaction:
        erase_secret(transaction, user_pwd_key(cluster_id))
    finish_operation(place, operation_id, ClusterStatus.CREATE_FAILED, ProvisionFailed.code, failure)


def _restart(place: FlowContext, cluster_id: str) -> None:
    cluster = _handed_over(place, cluster_id)
    servers_of(place.site, cluster).restart()
    reap(place, cluster)


def _stop(place: FlowContext, cluster_id: str) -> None:
    """Stop the servers, after the row: a service that starts in between must not start them again."""
    with place.control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster_id, True, place.control.clock.now())
        cluster = clusters.read_cluster(transaction, cluster_id)
    servers_of(place.site, cluster).stop()


def _start(place: FlowContext, cluster_id: str) -> None:
    """Start the servers, after the row: a service that starts in between starts them too, as requested."""
    with place.control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster_id, False, place.control.clock.now())
    cluster = _handed_over(place, cluster_id)
    servers_of(place.site, cluster).start()
    renew_cluster_functions(cluster)
    reap(place, cluster)


def _remove(place: FlowContext, cluster_id: str) -> None:
    """Remove all of ours. Things that are left on servers of somebody's go to the audit log and the service's own."""
    cluster = _read(place, cluster_id)
    left = servers_of(place.site, cluster).remove()
    if left:
        with place.control.database.transaction() as transaction:
            for told in left:
                record(
                    place.control,
                    transaction,
                    cluster.project,
                    "DeleteCluster",
                    f"cluster/{cluster.id}",
                    "left",
                    told,
                )
    for told in left:
        log.get("cluster").warning("something of ours is left on a server", cluster=cluster.id, left=told)


def _handed_over(place: FlowContext, cluster_id: str) -> Cluster:
    """Return the cluster. One of an earlier version that could not be handed over at our start is handed over now."""
    if is_due(place.site, cluster_id):
        hand_over_cluster(place, _read(place, cluster_id))
    return _read(place, cluster_id)


def _read(place: FlowContext, cluster_id: str) -> Cluster:
    with place.control.database.reading() as reading:
        return clusters.read_cluster(reading, cluster_id)


def _trash_snapshots(place: FlowContext, cluster_id: str) -> None:
    """Move the deleted cluster's snapshots, but for those to keep, to the trash, from where they can be brought back.

    A snapshot in use stays. This happens only if the snapshot at work was published before its cancellation reached
    it. It then counts among the snapshots to keep, in place of one that was free to be restored.
    """
    with place.control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster_id)
        assert operation is not None
        keep = int(operation.detail["keep_last_manual"])
        found = snapshots.given_up_with_cluster(transaction, cluster_id, keep)
        given_up = [snapshot for snapshot in found if not snapshot.use]
        for snapshot in given_up:
            snapshots.move_to_trash(transaction, snapshot.id, place.control.clock.now())
    for snapshot in given_up:
        settle_mark(place, snapshot.id)


def settle_mark(place: FlowContext, snapshot_id: str) -> None:
    """Make the repository's mark agree with the row, deleted or not, so that the state is known without the catalog.

    The last of two concurrent writers reads the row again, so the mark ends as the row says. A mark bears the row's
    time of deletion, which shows that both belong to one deletion. A failed snapshot has nothing to mark.
    """
    snapshot = _any_snapshot(place, snapshot_id)
    while True:
        said = snapshot.deleted
        if said is None:
            place.vault.check_identity()
            roots.unmark_trash(place.vault.store, snapshot.cluster_id, snapshot_id)
        elif snapshot.status is SnapshotStatus.AVAILABLE:
            keys = place.vault.keys(snapshot.cluster_id)
            if roots.read(place.vault.store, keys, snapshot_id) is not None:
                roots.mark_trash(place.vault.store, keys, snapshot_id, said.isoformat())
        snapshot = _any_snapshot(place, snapshot_id)
        if snapshot.deleted == said:
            return


def _any_snapshot(place: FlowContext, snapshot_id: str) -> Snapshot:
    with place.control.database.reading() as reading:
        return snapshots.read_snapshot(reading, snapshot_id)
