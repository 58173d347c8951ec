"""Rebuilds a cluster from a snapshot's root and recovers it to the cut, for restores, proofs and `repo restore`."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.errors import ObjectMissing, RepositoryDamaged, RestoreFailed
from stillhouse.node.restore.rebuild import RestoreTask
from stillhouse.postgres.host.binaries import Binaries, remedy
from stillhouse.postgres.host.settings_trial import check_encryption, check_settings
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import Root
from stillhouse.storage.store import ObjectStore
from stillhouse.warehouse.clone import quarantine
from stillhouse.warehouse.clone.foreign_servers import unpark
from stillhouse.warehouse.clone.inspection import inspect
from stillhouse.warehouse.clone.release import release
from stillhouse.warehouse.clone.replay import Show
from stillhouse.warehouse.clone.rewire import rewire
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.workers import process
from stillhouse.workers.jobs import Repository, RestoreJob, restore_job
from stillhouse.workers.process import Progress

NODES_AT_ONCE = 4


def check_programs(
    binaries: Binaries,
    store: ObjectStore,
    keys: ClusterKeys,
    root: Root,
    chosen: Mapping[str, str] | None = None,
) -> None:
    """Raise RestoreFailed if this host lacks the programs of a node's major version; before anything is copied.

    Raises InvalidInput if they do not take the `chosen` settings, or cannot encrypt what clients on other hosts send.
    """
    tried: set[int] = set()
    for name, major in majors_of(store, keys, root).items():
        programs = binaries.of_major(major)
        if programs is None:
            raise RestoreFailed(f"node {name} of the snapshot {binaries.why_not(major)}", hint=remedy(major))
        if major not in tried:
            tried.add(major)
            check_encryption(programs)
            check_settings(programs, chosen or {})


def majors_of(store: ObjectStore, keys: ClusterKeys, root: Root) -> dict[str, int]:
    """Return the major version of each node, by its name. A node whose manifest cannot be read is left out: its restore
    finds that too, and records the damage.
    """
    found: dict[str, int] = {}
    for stored in root.nodes:
        with suppress(RepositoryDamaged, ObjectMissing):
            found[stored.name] = manifest.major_version(manifest.read(store, keys, stored.stored))
    return found


def bytes_of(root: Root, node: Node) -> int:
    """Return the bytes that the node's files will take."""
    return root.node(node.name).restored_bytes


def is_rebuilt(node: Node) -> bool:
    """Tell whether the rename that ends a node's restore has happened."""
    return (Path(node.directory) / "pgdata").exists()


def rebuild_node(
    site: Site,
    repository: Repository,
    root: Root,
    node: Node,
    workers: int,
    *,
    check: Callable[[], None],
    show: Callable[[int], None],
) -> None:
    """Make the node's files, ready for recovery, in a process of its own, unless they are there.

    `check` is called again and again, and stops the work by raising; `show` gets the bytes written so far.
    """
    if is_rebuilt(node):
        return
    account = site.binaries.of(node).account
    task = RestoreTask(
        node=node,
        manifest=root.node(node.name).stored,
        expected_bytes=bytes_of(root, node),
        owner=(account.uid, account.gid) if account else None,
        workers=workers,
    )

    def on_event(event: object) -> None:
        check()
        if isinstance(event, Progress):
            show(event.done)

    process.run(restore_job, RestoreJob(repository, root.cluster.id, task), on_event)


def recover(
    site: Site,
    root: Root,
    nodes: Sequence[Node],
    shows: Mapping[str, Show] | None = None,
    chosen: Mapping[str, str] | None = None,
) -> list[str]:
    """Recover all nodes to the cut in quarantine, then connect them to each other, and only then let clients in.

    The servers run afterwards. `shows`, by the node's name, get the progress of replay; `chosen` are settings that a
    person wants on all nodes. If it is killed and called again, the result is the same. Returns findings in the clone
    for a person to look at. Raises RestoreFailed, NodeUnreachable, and InvalidInput for a setting that PostgreSQL
    refuses.
    """
    told = shows or {}
    for programs in {one.major: one for one in map(site.binaries.of, nodes)}.values():
        check_settings(programs, chosen or {})
    with ThreadPoolExecutor(NODES_AT_ONCE) as pool:
        with quarantine.own_network(site, nodes) as inside:
            list(
                pool.map(
                    lambda node: recover_to_cut(inside, root, node, show=told.get(node.name), chosen=chosen),
                    nodes,
                )
            )
            rewired = rewire(nodes, root.cluster.user_name, source_nodes(root))
            inspected = [finding for findings in pool.map(inspect, nodes) for finding in findings]
            list(pool.map(unpark, nodes))
        released = pool.map(
            lambda node: release(site.binaries, node, root.node(node.name).capacity, chosen), nodes
        )
        changed = [note for notes in released for note in notes]
    return [*changed, *_without_network(site), *map(str, rewired.strangers), *inspected]


def _without_network(site: Site) -> list[str]:
    why = site.why_no_network()
    return [
        "while it was recovered, the clone had no network of its own, since"
        f" {why}: its foreign servers led nowhere, but a function of its users could have opened another way out"
    ][: bool(why)]


def recover_to_cut(
    site: Site,
    root: Root,
    node: Node,
    settings: Mapping[str, str] | None = None,
    *,
    show: Show | None = None,
    chosen: Mapping[str, str] | None = None,
) -> None:
    """Recover one node to its cut, in quarantine. `settings` hold for this start only; a person chose `chosen`."""
    stored = root.node(node.name)
    point = RestorePoint(node.id, stored.cut_name, stored.cut_lsn, stored.timeline)
    quarantine.recover(site.binaries, node, point, stored.capacity, show, settings=settings, chosen=chosen)


def source_nodes(root: Root) -> tuple[Node, ...]:
    """Return the snapshot's nodes as they were connected: rewiring finds them by name, host and port."""
    return tuple(
        Node(stored.node_id, stored.name, Role(stored.role), stored.host, stored.port, "", "")
        for stored in root.nodes
    )
