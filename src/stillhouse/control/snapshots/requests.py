"""Requests about snapshots. Each is accepted or refused in one transaction; flows do the work."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain

from stillhouse.catalog import clusters, snapshot_lists, snapshots
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster, known_snapshot, locked_snapshot, working_cluster
from stillhouse.control.snapshots.queue import leave_queue, take_or_wait
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster, ClusterStatus, Task
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.reports.failure import CANCELLED, Failure
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType, backup_key
from stillhouse.errors import InvalidInput, StateForbids, WrongKind

# Snapshots that are read at once; their answer is about half a megabyte.
_BATCH = 500
# The largest int of the API's clients; page number times page length stays within any database's integers.
_LARGEST = 2**31 - 1


def request_snapshot(
    control: Control, project: str, *, name: str, cluster_id: str, description: str = ""
) -> str:
    """Accept a manual snapshot of a whole cluster, for the flow `create_snapshot` at its turn. Returns its id."""
    snapshot_id = new_uuid()
    resource = f"cluster/{cluster_id}/snapshot/{snapshot_id}"
    with audited(control, project, "CreateSnapshot", resource) as transaction:
        names.check_snapshot_name(name)
        names.check_description(description)
        cluster = working_cluster(transaction, project, cluster_id, beside={Task.SNAPSHOTTING})
        now = control.clock.now()
        snapshot = new_snapshot(cluster, snapshot_id, SnapshotType.MANUAL, now, name, description)
        take_or_wait(control, transaction, cluster, snapshot)
    return snapshot_id


def new_snapshot(
    cluster: Cluster, snapshot_id: str, type_: SnapshotType, now: datetime, name: str, description: str = ""
) -> Snapshot:
    """Return a snapshot of the cluster, before any part of it is taken."""
    return Snapshot(
        id=snapshot_id,
        project=cluster.project,
        cluster_id=cluster.id,
        cluster_name=cluster.name,
        name=name,
        description=description,
        status=SnapshotStatus.CREATING,
        type=type_,
        started=now,
        updated=now,
        db_user=cluster.user_name,
        backup_key=backup_key(now),
    )


def request_copy(
    control: Control, project: str, snapshot_id: str, *, name: str, description: str = ""
) -> str:
    """Accept a manual copy of an automated snapshot; the flow `copy_snapshot` writes its root. Returns its id."""
    copy_id = new_uuid()
    with audited(control, project, "CopySnapshot", f"snapshot/{snapshot_id}/copy/{copy_id}") as transaction:
        names.check_snapshot_name(name)
        names.check_description(description)
        # The cluster is locked first, as in every deletion of either: the deletion waits, or has already happened.
        clusters.lock_cluster(transaction, known_snapshot(transaction, project, snapshot_id).cluster_id)
        source = locked_snapshot(transaction, project, snapshot_id)
        if source.type is not SnapshotType.AUTO:
            raise WrongKind(f"snapshot {source.id} is a manual one", hint="it stays without a copy")
        if source.status is not SnapshotStatus.AVAILABLE:
            raise StateForbids(f"snapshot {source.id} is in state {source.status}")
        if source.restoring:
            raise StateForbids(f"snapshot {source.id} is being restored")
        if clusters.read_cluster(transaction, source.cluster_id).status is ClusterStatus.DELETING:
            raise StateForbids(f"cluster {source.cluster_id} is being deleted")
        if snapshots.has_copy(transaction, source.id):
            raise StateForbids(f"snapshot {source.id} has a copy already", hint="delete that one first")
        copy = replace(
            source,
            id=copy_id,
            name=name,
            description=description,
            status=SnapshotStatus.CREATING,
            type=SnapshotType.MANUAL,
            updated=control.clock.now(),
            progress=0,
            stored_bytes=0,
            reached_bytes=None,
            own_bytes=None,
            copied_from=source.id,
        )
        snapshots.insert_copy(transaction, copy)
        control.flows.enqueue(transaction, "copy_snapshot", copy_id)
    return copy_id


def check_name(control: Control, project: str, name: str) -> None:
    """Raise the error that CreateSnapshot would raise for this name at this moment."""
    names.check_snapshot_name(name)
    with control.database.reading() as reading:
        if snapshots.is_name_taken(reading, project, name):
            raise snapshots.name_taken(name)


def list_snapshots(control: Control, project: str) -> list[Snapshot]:
    """List all of the project's snapshots, manual and automated, the newest first."""
    return list(chain.from_iterable(snapshot_batches(control, project)))


def snapshot_batches(
    control: Control, project: str, *, name: str = "", cluster_id: str | None = None
) -> Iterator[list[Snapshot]]:
    """Yield the project's snapshots in batches, manual and automated, the newest first; with a name, only that one's,
    with a cluster, which may be deleted, only its own.

    Each batch is read when it is asked for, in a transaction of its own: a slow reader holds up nothing.
    """
    if name:
        names.check_snapshot_name(name)
        with control.database.reading() as reading:
            found = snapshot_lists.find_by_name(reading, project, name)
        yield [found] if found else []
        return
    last: Snapshot | None = None
    while True:
        with control.database.reading() as reading:
            batch = snapshot_lists.list_snapshots(reading, project, _BATCH, last, cluster_id)
        yield batch
        if len(batch) < _BATCH:
            return
        last = batch[-1]


def get_snapshot(control: Control, project: str, snapshot_id: str) -> Snapshot:
    with control.database.reading() as reading:
        return known_snapshot(reading, project, snapshot_id)


def list_cluster_snapshots(
    control: Control,
    project: str,
    cluster_id: str,
    *,
    limit: int | None = None,
    offset: int = 0,
    sort_key: str = "started",
    descending: bool = True,
) -> tuple[list[Snapshot], int]:
    """Return one page and the total. `offset` counts pages, not snapshots; without a limit all are one page."""
    _check_page(limit, offset, sort_key)
    with control.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
        return snapshot_lists.page_of_cluster(
            reading,
            cluster.id,
            sort_key=sort_key,
            descending=descending,
            limit=limit,
            skip=offset * (limit or _LARGEST),
        )


def list_page(
    control: Control,
    project: str,
    *,
    cluster_id: str | None = None,
    status: SnapshotStatus | None = None,
    since: datetime | None = None,
    limit: int | None = None,
    offset: int = 0,
    sort_key: str = "started",
    descending: bool = True,
) -> tuple[list[Snapshot], int]:
    """Return one page of the project's snapshots that are chosen, and the total of these; pages as of a cluster's."""
    _check_page(limit, offset, sort_key)
    with control.database.reading() as reading:
        if cluster_id is not None:
            known_cluster(reading, project, cluster_id)
        return snapshot_lists.page_of_project(
            reading,
            project,
            cluster_id=cluster_id,
            status=status,
            since=since,
            sort_key=sort_key,
            descending=descending,
            limit=limit,
            skip=offset * (limit or _LARGEST),
        )


def _check_page(limit: int | None, offset: int, sort_key: str) -> None:
    if limit is not None and not 1 <= limit <= _LARGEST:
        raise InvalidInput(f"limit must be between 1 and {_LARGEST}")
    if not 0 <= offset <= _LARGEST:
        raise InvalidInput(f"offset must be between 0 and {_LARGEST}")
    if sort_key not in snapshot_lists.SORT_KEYS:
        raise InvalidInput(f"sort_key must be one of {', '.join(snapshot_lists.SORT_KEYS)}")


def delete_snapshot(control: Control, project: str, snapshot_id: str) -> None:
    """Move a manual snapshot to the trash; the flow `delete_snapshot` marks it in the repository.

    A snapshot that still waits for its turn is cancelled by that.
    """
    with audited(control, project, "DeleteSnapshot", f"snapshot/{snapshot_id}") as transaction:
        clusters.lock_cluster(transaction, known_snapshot(transaction, project, snapshot_id).cluster_id)
        snapshot = locked_snapshot(transaction, project, snapshot_id)
        if snapshot.type is not SnapshotType.MANUAL:
            raise WrongKind(
                f"snapshot {snapshot.id} is an automated one",
                hint="it goes when its days are over, or with its cluster",
            )
        is_creating = snapshot.status is SnapshotStatus.CREATING
        unborn = Failure(CANCELLED, "deleted before its turn came")
        if is_creating and not leave_queue(control, transaction, snapshot, unborn):
            raise StateForbids(f"snapshot {snapshot.id} is still being taken")
        if snapshot.use:
            raise StateForbids(f"snapshot {snapshot.id} is {snapshot.use}")
        snapshots.move_to_trash(transaction, snapshot.id, control.clock.now())
        control.flows.enqueue(transaction, "delete_snapshot", snapshot.id)


def request_cancel(control: Control, project: str, snapshot_id: str) -> None:
    """Ask the running flow to stop at its next step; the snapshot then becomes UNAVAILABLE.

    A snapshot that still waits for its turn becomes UNAVAILABLE at once.
    """
    with audited(control, project, "CancelSnapshot", f"snapshot/{snapshot_id}") as transaction:
        clusters.lock_cluster(transaction, known_snapshot(transaction, project, snapshot_id).cluster_id)
        snapshot = locked_snapshot(transaction, project, snapshot_id)
        if snapshot.status is not SnapshotStatus.CREATING:
            raise StateForbids(f"snapshot {snapshot.id} is not being taken")
        unborn = Failure(CANCELLED, "the snapshot was cancelled before its turn came")
        if not leave_queue(control, transaction, snapshot, unborn):
            snapshots.request_cancel(transaction, snapshot.id, control.clock.now())
            control.bells.ring_at_commit(transaction, snapshot.id)
