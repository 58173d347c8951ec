"""Sizes of snapshots and their shared parts, from manifests and one listing: no map or pack is opened."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from stillhouse.repository.check.report import ages, unreached_sizes
from stillhouse.repository.check.structure import Checked
from stillhouse.repository.format import layout


@dataclass(frozen=True)
class SnapshotFigures:
    """The figures of one snapshot, in bytes.

    `live`: its files and WAL; `stored`: all objects it reaches; `shared`: objects that others reach too; `own`: the
    bytes that deleting it alone would free. `fragmentation` is the most bytes that its frames can hold, divided by
    `live`.
    """

    snapshot: str
    name: str
    in_trash: bool
    live: int
    stored: int
    shared: int
    own: int
    packs: int
    fragmentation: float
    oldest_scrub: datetime | None
    overdue_packs: int


@dataclass(frozen=True)
class ClusterFigures:
    """The figures of a cluster and its snapshots.

    `stored`: all objects; `trash`: the bytes that emptying the trash would free; `is_whole`: no object that these
    figures rest on is damaged.
    """

    cluster: str
    snapshots: tuple[SnapshotFigures, ...]
    objects: int
    stored: int
    trash: int
    unreached: int
    unreached_bytes: int
    is_whole: bool


def figures(checked: Checked, *, now: datetime, max_age: timedelta) -> ClusterFigures:
    """The figures of a cluster of which at least the manifests were checked."""
    place = checked.place
    reached = {snapshot: _objects(checked, snapshot) for snapshot in place.roots}
    users = Counter(key for keys in reached.values() for key in keys)
    kept = {key for snapshot, keys in reached.items() if snapshot not in place.trash for key in keys}
    trashed = {key for snapshot in place.trash & reached.keys() for key in reached[snapshot]} - kept
    sizes = {key: stored.size for key, stored in place.listed.items()}
    waiting = ages(checked, now, max_age)
    unreached = unreached_sizes(checked)
    rows = []
    for snapshot, keys in sorted(reached.items()):
        shared = sum(sizes.get(key, 0) for key in keys if users[key] > 1)
        own = sum(sizes.get(key, 0) for key in keys if users[key] == 1)
        nodes = checked.of(snapshot)
        live = sum(node.live for node in nodes)
        rows.append(
            SnapshotFigures(
                snapshot,
                place.roots[snapshot].name,
                snapshot in place.trash,
                live,
                shared + own,
                shared,
                own,
                len(checked.packs_of(snapshot)),
                sum(node.held for node in nodes) / live if live else 1.0,
                waiting[snapshot].oldest,
                len(waiting[snapshot].overdue),
            )
        )
    return ClusterFigures(
        place.cluster,
        tuple(rows),
        len(sizes),
        sum(sizes.values()),
        sum(sizes.get(key, 0) for key in trashed),
        len(unreached),
        sum(unreached),
        not place.faults.by_key,
    )


def _objects(checked: Checked, snapshot: str) -> set[str]:
    found = {layout.root(checked.place.cluster, snapshot)}
    return found.union(*(checked.objects_of(node) for node in checked.of(snapshot)))
