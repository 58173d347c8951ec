"""A snapshot's nodes, rebuilt from the repository and recovered in quarantine: what restores and proofs share."""

from collections.abc import Callable, Mapping
from typing import Any

from stillhouse.catalog import snapshots
from stillhouse.control.workplace import Workplace
from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.errors import RestoreFailed
from stillhouse.node.jobs import RestoreJob, restore_job
from stillhouse.node.process import Done, Progress, Worker
from stillhouse.node.restore import Restored, RestoreTask
from stillhouse.repository import roots
from stillhouse.repository.keys import open_keys
from stillhouse.repository.roots import Root
from stillhouse.repository.sealed import Stored
from stillhouse.warehouse import quarantine

NODES_AT_ONCE = 4

_POLL_SECONDS = 0.2


def read_root(place: Workplace, snapshot_id: str) -> Root:
    """The snapshot as the repository has it; the catalog only says whose it is."""
    with place.control.database.reading() as reading:
        source = snapshots.read_snapshot(reading, snapshot_id).cluster_id
    root = roots.read(place.store, open_keys(place.store, place.repository.kek, source), snapshot_id)
    if root is None:
        raise RestoreFailed(f"snapshot {snapshot_id} is not in the repository")
    return root


def stored_node(root: Root, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(stored for stored in root["nodes"] if stored["name"] == name)
    return found


def stored_manifest(root: Root, name: str) -> Stored:
    stored = stored_node(root, name)
    return Stored(stored["manifest"], stored["size"], stored["hash"])


def source_nodes(root: Root) -> tuple[Node, ...]:
    """The snapshot's nodes as they were wired: name, host and port are what rewiring goes by."""
    return tuple(
        Node(stored["node_id"], stored["name"], Role(stored["role"]), stored["host"], stored["port"], "", "")
        for stored in root["nodes"]
    )


def rebuild(place: Workplace, root: Root, node: Node, on_progress: Callable[[int], None]) -> None:
    """The node's directory, ready for recovery, by a process of its own. `on_progress` is told the bytes written."""
    stored = stored_node(root, node.name)
    task = RestoreTask(
        node=node,
        manifest=stored_manifest(root, node.name),
        expected_bytes=stored["plain_bytes"] + stored["wal_bytes"],
        owner=place.owner,
        pg_major=place.site.binaries.major,
        workers=place.control.settings.capture_workers,
    )
    worker: Worker[Restored] = Worker(restore_job, RestoreJob(place.repository, root["cluster"]["id"], task))
    try:
        while not isinstance(event := worker.poll(_POLL_SECONDS), Done):
            place.control.flows.check_running()
            if isinstance(event, Progress):
                on_progress(event.done)
    finally:
        worker.end()


def recover(place: Workplace, root: Root, node: Node, settings: Mapping[str, str] | None = None) -> None:
    """To the cut, in quarantine. `settings` are of this start only."""
    stored = stored_node(root, node.name)
    point = RestorePoint(node.id, stored["cut_name"], stored["cut_lsn"], stored["timeline"])
    quarantine.recover(place.site.binaries, node, point, {**stored["capacity"], **(settings or {})})
