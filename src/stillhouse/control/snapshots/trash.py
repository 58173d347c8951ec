"""Requests about deleted snapshots: list the trash, and bring a snapshot back from it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from stillhouse.catalog import clusters, snapshots, trash
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.ids import is_uuid
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus
from stillhouse.errors import (
    InvalidInput,
    RepositoryDamaged,
    SnapshotUnknown,
    StateForbids,
    StillhouseError,
)
from stillhouse.repository.objects import roots


@dataclass(frozen=True)
class Trashed:
    """A snapshot in the trash. It may be brought back before `until`. A failed one cannot be brought back."""

    snapshot: Snapshot
    until: datetime
    can_come_back: bool


def list_trash(control: Control, project: str) -> list[Trashed]:
    """List the trash; the snapshots deleted last come first."""
    keeps = timedelta(days=control.settings.trash_days)
    with control.database.reading() as reading:
        found = trash.list_trash(reading, project)
    return [
        Trashed(one, one.deleted + keeps, one.status is SnapshotStatus.AVAILABLE)
        for one in found
        if one.deleted is not None
    ]


def undelete_snapshot(control: Control, project: str, snapshot_id: str) -> None:
    """Bring a snapshot back from the trash, whether its cluster is still there or not.

    The deletion ends in the repository first, and from then on no purge takes the snapshot. The row follows: after a
    crash between the two, users still see the snapshot in the trash. In the other order they would see it as
    available, while a collection without the catalog takes it for deleted.
    """
    resource = f"snapshot/{snapshot_id}"
    try:
        # Outside of any transaction: the store may be slow, and the catalog's writers would wait for it.
        ended = _bring_back(control, project, snapshot_id)
    except StillhouseError as refusal:
        with audited(control, project, "UndeleteSnapshot", resource):
            raise refusal
    with audited(control, project, "UndeleteSnapshot", resource) as transaction:
        snapshots.lock_snapshot(transaction, snapshot_id)
        snapshot = _in_trash(transaction, project, snapshot_id)
        if snapshot.deleted != ended.deleted:
            raise StateForbids(f"snapshot {snapshot_id} was deleted again meanwhile", hint="ask again")
        trash.undelete(transaction, snapshot.id, control.clock.now())
        # The deletion's own flow may be late, and mark the snapshot again from a row that it has read before.
        control.flows.enqueue(transaction, "delete_snapshot", snapshot.id)


def _in_trash(transaction: Transaction, project: str, snapshot_id: str) -> Snapshot:
    """Find the snapshot, if it can come back."""
    if not is_uuid(snapshot_id):
        raise SnapshotUnknown("a snapshot id is a UUID")
    snapshot = next((one for one in trash.list_trash(transaction, project) if one.id == snapshot_id), None)
    if snapshot is None:
        if snapshots.find_snapshot(transaction, project, snapshot_id) is not None:
            raise StateForbids(f"snapshot {snapshot_id} is not deleted")
        raise SnapshotUnknown(f"snapshot {snapshot_id} is not in the trash, or not any more")
    if snapshot.status is not SnapshotStatus.AVAILABLE:
        raise StateForbids(f"snapshot {snapshot_id} failed: there is nothing to bring back")
    if clusters.read_cluster(transaction, snapshot.cluster_id).status is ClusterStatus.DELETING:
        raise StateForbids(f"cluster {snapshot.cluster_id} is being deleted", hint="wait until it is gone")
    return snapshot


def _bring_back(control: Control, project: str, snapshot_id: str) -> Snapshot:
    """End the deletion in the repository. Returns the deleted snapshot's row as it was then."""
    with control.database.reading() as reading:
        snapshot = _in_trash(reading, project, snapshot_id)
    if control.vault is None:
        raise InvalidInput("only a running service brings snapshots back")
    try:
        root = roots.read(control.vault.store, control.vault.keys(snapshot.cluster_id), snapshot.id)
    except RepositoryDamaged as error:
        raise StateForbids(
            f"snapshot {snapshot.id} cannot be read any more", hint="its keys or its root are gone"
        ) from error
    if root is None:
        raise StateForbids(f"snapshot {snapshot.id} is not in the repository any more")
    assert snapshot.deleted is not None, "it is in the trash"
    keys, now = control.vault.keys(snapshot.cluster_id), control.clock.now().isoformat()
    if not roots.bring_back(control.vault.store, keys, snapshot.id, snapshot.deleted.isoformat(), now):
        raise StateForbids(f"snapshot {snapshot.id} is being purged")
    return snapshot
