"""A temporary clone of a snapshot in scratch space, for proofs and table restores.

The clone is at its cut and never leaves quarantine: it is reached only by its private sockets, and its nodes reach
only each other.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from stillhouse.control.flow_context import FlowContext
from stillhouse.control.restores.recovery import (
    NODES_AT_ONCE,
    check_programs,
    rebuild_node,
    recover_to_cut,
    source_nodes,
)
from stillhouse.disk_space import check_room
from stillhouse.domain.cluster import Node
from stillhouse.parallel import at_once
from stillhouse.repository.format.root import Root
from stillhouse.warehouse.clone import quarantine
from stillhouse.warehouse.clone.foreign_servers import silence
from stillhouse.warehouse.clone.rewire import rewire
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site

_SPARE_BYTES = 256 << 20
# The clone is thrown away, so it need not survive a power cut. No background process may change it.
_HASTY = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


@contextmanager
def scratch_clone(
    place: FlowContext, root: Root, clone_id: str, show: Callable[[int, int], None]
) -> Iterator[tuple[Node, ...]]:
    """Yield the clone's running nodes, the coordinator first; remove the clone and all leftovers of earlier runs.

    `show` gets the bytes that are written, and their total. Raises RestoreFailed, also if there is no room.
    """
    embedded.destroy(place.scratch, clone_id)
    try:
        nodes = _plan(place, root, clone_id)
        with quarantine.own_network(place.scratch, nodes) as inside:
            _make(place, inside, root, nodes, show)
            yield nodes
    finally:
        embedded.destroy(place.scratch, clone_id)


def check_scratch(place: FlowContext, needed: int, purpose: str) -> None:
    """Raise RestoreFailed unless scratch space has room for `needed` bytes and some to spare."""
    check_room(place.scratch.data, needed + _SPARE_BYTES, purpose)


def _plan(place: FlowContext, root: Root, clone_id: str) -> tuple[Node, ...]:
    check_programs(place.scratch.binaries, place.vault.store, place.vault.keys(root.cluster.id), root)
    check_scratch(place, _bytes_of(root), "to restore the snapshot there")
    return embedded.plan_nodes(
        place.scratch,
        clone_id,
        root.cluster.number_of_node,
        root.cluster.port,
        frozenset(embedded.planned_hosts(place.site)),
    )


def _bytes_of(root: Root) -> int:
    return sum(node.restored_bytes for node in root.nodes)


def _make(
    place: FlowContext, inside: Site, root: Root, nodes: tuple[Node, ...], show: Callable[[int, int], None]
) -> None:
    total = _bytes_of(root)
    copied = dict.fromkeys((node.name for node in nodes), 0)

    def rebuild(node: Node, check: Callable[[], None]) -> None:
        def tell(done: int) -> None:
            copied[node.name] = done
            show(sum(copied.values()), total)

        def go_on() -> None:
            check()
            place.control.flows.check_running()

        workers = place.control.settings.capture_workers
        rebuild_node(inside, place.vault.repository, root, node, workers, check=go_on, show=tell)

    at_once(rebuild, nodes, NODES_AT_ONCE)
    with ThreadPoolExecutor(NODES_AT_ONCE) as pool:
        list(pool.map(lambda node: recover_to_cut(inside, root, node, _HASTY), nodes))
        list(pool.map(silence, nodes))
    # Functions of the clone's users may run in it, so it must not reach the source's data nodes.
    rewire(nodes, root.cluster.user_name, source_nodes(root))
    show(total, total)
