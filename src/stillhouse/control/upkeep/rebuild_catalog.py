"""Rebuilds a lost catalog from a repository's roots.

The files beside the catalog (the repository's id, the KEK) are made first, and the rows last, in one transaction. If
the power goes during a rebuild, the same call completes it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from stillhouse.catalog import clusters, snapshots
from stillhouse.control.audit import ACCEPTED, record
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Node
from stillhouse.domain.snapshot import Snapshot, SnapshotStatus, SnapshotType
from stillhouse.errors import InvalidInput
from stillhouse.repository.upkeep.inventory import Found, Inventory

_NAME_LIMIT = 64


@dataclass
class Rebuilt:
    """The catalog's rows. `told` are sentences for a person: renamed snapshots, roots that could not be used."""

    clusters: list[Cluster] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def projects(self) -> list[str]:
        return sorted({cluster.project for cluster in self.clusters})


def rows_of(
    inventory: Inventory,
    now: datetime,
    standing: Callable[[str], tuple[Node, ...]],
    projects: Iterable[str] = (),
) -> Rebuilt:
    """Make the catalog's rows from the roots, only those of `projects` if any are named.

    `standing` returns the nodes of a cluster with servers on this host. A cluster without nodes becomes a deleted one
    with kept snapshots: these are listed and can be restored, and the catalog does not claim that a server runs.
    """
    wanted = set(projects)
    rebuilt = Rebuilt(told=list(inventory.unreadable))
    found: dict[str, list[Cluster]] = {}
    for one in inventory.snapshots:
        try:
            cluster, snapshot = _cluster(one, now, standing(one.cluster)), _snapshot(one, now)
        except (KeyError, TypeError, ValueError) as error:
            rebuilt.told.append(f"the root of snapshot {one.id} lacks a fact that a catalog needs: {error}")
            continue
        if not wanted or snapshot.project in wanted:
            rebuilt.snapshots.append(snapshot)
            found.setdefault(cluster.id, []).append(cluster)
    for states in found.values():  # of one cluster, at each of its snapshots
        states.sort(key=lambda state: state.created)
        rebuilt.clusters.append(replace(states[-1], created=states[0].created))
    _part_namesakes(rebuilt)
    return rebuilt


def _cluster(found: Found, now: datetime, standing: tuple[Node, ...]) -> Cluster:
    """Return the cluster as it was at this snapshot, with each node's lineage from it, for the next snapshot's base."""
    known = found.root.cluster
    lineages = {node.node_id: node.lineage for node in found.root.nodes}
    return Cluster(
        id=found.cluster,
        project=found.root.project,
        name=known.name,
        engine=Engine(known.engine),
        status=ClusterStatus.AVAILABLE if standing else ClusterStatus.DELETED,
        number_of_node=known.number_of_node,
        port=known.port,
        user_name=known.user_name,
        created=datetime.fromisoformat(found.root.started),
        updated=now,
        nodes=tuple(replace(node, lineage=lineages[node.id]) for node in standing),
        facts=known.facts,
    )


def _snapshot(found: Found, now: datetime) -> Snapshot:
    root = found.root
    started = datetime.fromisoformat(root.started)
    return Snapshot(
        id=found.id,
        project=root.project,
        cluster_id=found.cluster,
        cluster_name=found.cluster_name,
        name=root.name,
        description=root.description,
        status=SnapshotStatus.AVAILABLE,
        type=SnapshotType(root.type),
        started=started,
        updated=now,
        finished=datetime.fromisoformat(root.finished),
        progress=100,
        plain_bytes=root.plain_bytes,
        stored_bytes=root.stored_bytes,
        db_user=root.cluster.user_name,
        copied_from=root.copied_from or "",
        backup_key=started.strftime("%Y%m%d_%H%M%S"),
        deleted=datetime.fromisoformat(found.trashed) if found.trashed else None,
    )


def _part_namesakes(rebuilt: Rebuilt) -> None:
    """Rename snapshots of one name in a project. The youngest keeps it: the others were in the trash, unmarked."""
    taken: set[tuple[str, str]] = set()
    for at, snapshot in sorted(
        enumerate(rebuilt.snapshots), key=lambda placed: placed[1].started, reverse=True
    ):
        if snapshot.deleted is not None:
            continue
        name = snapshot.name
        if (snapshot.project, name.lower()) in taken:
            suffix = f"-{snapshot.id[:8]}"
            name = name[: _NAME_LIMIT - len(suffix)] + suffix
            rebuilt.snapshots[at] = replace(snapshot, name=name)
            rebuilt.told.append(f"another snapshot is named {snapshot.name}: {snapshot.id} is {name} now")
        taken.add((snapshot.project, name.lower()))


def is_written(context: CatalogContext, rebuilt: Rebuilt) -> bool:
    """Tell whether the catalog holds exactly these rows. Raises InvalidInput if it holds others."""
    with context.database.reading() as reading:
        there = clusters.known_ids(reading), snapshots.known_ids(reading)
    if any(there) and there != ({one.id for one in rebuilt.clusters}, {one.id for one in rebuilt.snapshots}):
        raise InvalidInput(
            f"{context.settings.data} has a catalog that is in use",
            hint="rebuild into a directory without one",
        )
    return any(there)


def write(context: CatalogContext, rebuilt: Rebuilt) -> None:
    """Fill an empty catalog in one transaction."""
    with context.database.transaction() as transaction:
        for cluster in rebuilt.clusters:
            clusters.insert_cluster(transaction, cluster)
            clusters.save_nodes(transaction, cluster.id, cluster.nodes)
        for snapshot in rebuilt.snapshots:
            insert = snapshots.insert_copy if snapshot.copied_from else snapshots.insert_snapshot
            insert(transaction, snapshot)
        for project in rebuilt.projects:
            record(context, transaction, project, "RebuildCatalog", "catalog", ACCEPTED)
