"""When snapshots go by themselves, and why the others stay: for lists, details and the trash."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from stillhouse.catalog import snapshot_lists, snapshots, trash
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.context import Control
from stillhouse.control.snapshots import requests
from stillhouse.domain import retention
from stillhouse.domain.ids import is_uuid
from stillhouse.domain.retention import Fate
from stillhouse.domain.snapshot import MOST_IDS, Snapshot, SnapshotType
from stillhouse.errors import InvalidInput, SnapshotUnknown


@dataclass(frozen=True)
class Fated:
    """A snapshot and its fate; one in the trash can be brought back before `until`."""

    snapshot: Snapshot
    fate: Fate
    until: datetime | None = None


def find(control: Control, project: str, snapshot_id: str) -> Fated:
    """Find the project's snapshot, also in the trash. Raises SnapshotUnknown."""
    with control.database.reading() as reading:
        found = snapshots.find_any(reading, snapshot_id.lower())
        if found is None or found.project != project or trash.is_being_purged(reading, found.id):
            raise SnapshotUnknown(f"snapshot {snapshot_id} does not exist")
        return _fated(control, reading, [found])[0]


def batches(
    control: Control, project: str, *, name: str = "", cluster_id: str | None = None
) -> Iterator[list[Fated]]:
    """Yield the snapshots of `requests.snapshot_batches` with their fates."""
    for batch in requests.snapshot_batches(control, project, name=name, cluster_id=cluster_id):
        with control.database.reading() as reading:
            fated = _fated(control, reading, batch)
        yield fated


def page(
    control: Control, project: str, *, cluster_id: str | None, limit: int, offset: int
) -> tuple[list[Fated], int]:
    """Return one page of the project's snapshots, or of a cluster's, with their fates, and their number in all."""
    if cluster_id is None:
        found, total = requests.list_page(control, project, limit=limit, offset=offset)
    else:
        found, total = requests.list_cluster_snapshots(
            control, project, cluster_id, limit=limit, offset=offset
        )
    with control.database.reading() as reading:
        return _fated(control, reading, found), total


def checked_ids(ids: Sequence[str]) -> list[str]:
    """Return ids of snapshots as the catalog has them. Raises InvalidInput for too many, and for anything else."""
    if len(ids) > MOST_IDS or not all(map(is_uuid, ids)):
        raise InvalidInput(f"ids are at most {MOST_IDS} ids of snapshots, separated by commas")
    return [one.lower() for one in ids]


def find_all(control: Control, project: str, ids: Sequence[str]) -> list[Fated]:
    """Find these snapshots of the project, the newest first; those that are unknown or in the trash are left out."""
    wanted = checked_ids(ids)
    with control.database.reading() as reading:
        found = snapshot_lists.find_all(reading, project, wanted)
        return _fated(control, reading, found)


def _fated(control: Control, reading: Transaction, batch: list[Snapshot]) -> list[Fated]:
    now = control.clock.now()
    automated = {one.cluster_id for one in batch if one.type is SnapshotType.AUTO}
    last_good = {snapshot_lists.last_good(reading, cluster, now) for cluster in automated}
    keeps = timedelta(days=control.settings.trash_days)
    return [
        Fated(one, retention.fate(one, now, is_last_good=one.id in last_good))
        if one.deleted is None
        else Fated(one, Fate(one.deleted + keeps, "it is in the trash"), one.deleted + keeps)
        for one in batch
    ]
