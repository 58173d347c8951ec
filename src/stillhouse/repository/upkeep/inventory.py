"""The snapshots of a repository, read from its roots alone, without a catalog."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from stillhouse.domain.ids import is_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.domain.reports.damage import SnapshotTouched
from stillhouse.errors import InvalidInput, RepositoryDamaged, SnapshotUnknown, StillhouseError
from stillhouse.repository.format import layout, manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, open_keys
from stillhouse.repository.format.fields import parse
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import open_small
from stillhouse.repository.objects import findings, roots
from stillhouse.storage.store import ObjectStore

_READS_AT_ONCE = 16


@dataclass(frozen=True)
class Found:
    """One snapshot. `trashed` is the time since when it is in the trash, or "". `lost` are its known losses."""

    cluster: str
    root: Root
    trashed: str = ""
    lost: SnapshotTouched | None = None

    @property
    def id(self) -> str:
        return self.root.snapshot

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def cluster_name(self) -> str:
        return self.root.cluster.name


@dataclass
class Inventory:
    """`buried` counts tombstones. `unreadable` describes, in a sentence each, the objects that cannot be read."""

    snapshots: list[Found] = field(default_factory=list)
    buried: int = 0
    unreadable: list[str] = field(default_factory=list)


def clusters_in(store: ObjectStore) -> list[str]:
    """The clusters that have objects in the repository. This lists the whole repository."""
    named = {stored.key.split("/")[1] for stored in store.list(layout.CLUSTERS)}
    return sorted(filter(is_uuid, named))


def take_inventory(store: ObjectStore, kek: Kek, clusters: Iterable[str] | None = None) -> Inventory:
    """All snapshots of these clusters (by default of all clusters), cluster by cluster, the oldest first.

    Unreadable objects are reported and left out: one damaged root must not hide the others.
    """
    inventory = Inventory()
    for cluster in clusters_in(store) if clusters is None else clusters:
        try:
            keys = open_keys(store, kek, cluster)
        except (RepositoryDamaged, InvalidInput) as error:
            inventory.unreadable.append(str(error))
            continue
        _take_cluster(store, keys, inventory)
    return inventory


def _take_cluster(store: ObjectStore, keys: ClusterKeys, inventory: Inventory) -> None:
    cluster = str(keys.cluster)
    at = [stored.key for stored in store.list(layout.roots_of(cluster))]
    trashed = {stored.key.rpartition("/")[2] for stored in store.list(layout.trash_of(cluster))}

    def read(key: str) -> Found | StillhouseError | None:
        try:
            return _read(store, keys, key, trashed)
        except RepositoryDamaged as error:
            return error

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        results = list(pool.map(read, at))
    lost = {one.snapshot: one for one in findings.read(store, keys).losses}
    found = [replace(one, lost=lost.get(one.id)) for one in results if isinstance(one, Found)]
    inventory.snapshots += sorted(found, key=lambda one: (one.root.started, one.id))
    inventory.unreadable += [str(result) for result in results if isinstance(result, StillhouseError)]
    inventory.buried += results.count(None)


def _read(store: ObjectStore, keys: ClusterKeys, key: str, trashed: set[str]) -> Found | None:
    opened = open_small(store, keys, key)
    if opened.type is Type.TOMBSTONE:
        return None
    root = Root.from_json(key, parse(key, b"".join(opened.plain())))
    snapshot = key.rpartition("/")[2]
    if root.snapshot != snapshot:
        raise RepositoryDamaged(f"{key} is the root of another snapshot")
    since = (roots.trashed_since(store, keys, snapshot) or "") if snapshot in trashed else ""
    return Found(str(keys.cluster), root, since)


def server_versions(store: ObjectStore, kek: Kek, snapshots: Sequence[Found]) -> dict[str, int]:
    """PostgreSQL's major version of each snapshot, by its id. Snapshots with an unreadable manifest are left out."""
    keys = {cluster: open_keys(store, kek, cluster) for cluster in {found.cluster for found in snapshots}}

    def read(found: Found) -> int | None:
        stored = found.root.nodes[0].stored
        try:
            return manifest.major_version(manifest.read(store, keys[found.cluster], stored))
        except RepositoryDamaged:
            return None

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        found = zip(snapshots, pool.map(read, snapshots), strict=True)
        return {one.id: major for one, major in found if major is not None}


def newest_of(snapshots: Sequence[Found], number: int) -> list[Found]:
    """The newest `number` snapshots of each cluster without the trash, the oldest first."""
    per_cluster: dict[str, list[Found]] = {}
    for found in snapshots:
        if not found.trashed:
            per_cluster.setdefault(found.cluster, []).append(found)
    return [found for cluster in per_cluster.values() for found in cluster[-number:]]


def choose(snapshots: Sequence[Found], wanted: str) -> Found:
    """The snapshot with that id, else the one with that name. A snapshot in the trash is found only by its id.

    Raises SnapshotUnknown, or InvalidInput when several have the name.
    """
    for found in snapshots:
        if found.id == wanted.lower():
            return found
    named = [found for found in snapshots if found.name == wanted and not found.trashed]
    if not named:
        raise SnapshotUnknown(f"there is no snapshot {wanted} in the repository", hint="list the snapshots")
    if len(named) > 1:
        ids = ", ".join(found.id for found in named)
        raise InvalidInput(f"{len(named)} snapshots are named {wanted}", hint=f"give one's id: {ids}")
    return named[0]
