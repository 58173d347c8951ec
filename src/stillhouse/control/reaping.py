"""Finds and removes the replication slots of dead attempts, which keep WAL on the nodes.

An attempt's own slot goes with its session. A slot that remains was left by an earlier version, which made permanent
slots, or is held by a process that was stopped and does not know that its attempt is dead.
"""

from datetime import datetime
from functools import partial

from stillhouse import log
from stillhouse.catalog import captures, clusters, operations
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.timer import Beside
from stillhouse.domain.cluster import Cluster, ClusterStatus, Node, Task
from stillhouse.domain.slots import is_attempt_slot
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.wal.slot import list_slots, remove_slots

_PATIENCE_SECONDS = 2.0
# An attempt may still be at work on a cluster that is being deleted; it removes its slots itself.
_LEFT_ALONE = (ClusterStatus.CREATING, ClusterStatus.DELETING)


def reap(place: FlowContext, cluster: Cluster) -> list[str]:
    """Remove all attempts' slots from the cluster's nodes. Returns their names.

    The caller holds the cluster, so no slot belongs to an attempt at work. A node that does not answer keeps its slots
    for the next time: it writes no WAL meanwhile.
    """
    return [name for node in cluster.nodes for name in _reap_node(place, node, at_work=None)]


class Reaper:
    """The timer's duty: looks at every node of every cluster now and then, beside attempts at work.

    A node that hangs holds up neither the timer for long nor the others.
    """

    def __init__(self, every_seconds: float, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._every_seconds, self._patience_seconds = every_seconds, patience_seconds
        self._next = 0.0
        self._looks = Beside("reaper")

    def __call__(self, place: FlowContext, now: datetime) -> None:
        clock = place.control.clock
        if clock.monotonic() < self._next:
            return
        self._next = clock.monotonic() + self._every_seconds
        with place.control.database.reading() as reading:
            found = clusters.all_clusters(reading)
        for cluster in found:
            if cluster.status not in _LEFT_ALONE and not cluster.stopped:
                for node in cluster.nodes:
                    look = partial(_reap_node, place, node, at_work=cluster.id)
                    self._looks.begin(node.id, f"slots of node {node.name} of cluster {cluster.id}", look)
        self._looks.join(self._patience_seconds)


def _reap_node(place: FlowContext, node: Node, *, at_work: str | None) -> list[str]:
    """Remove dead slots from one node. `at_work` is the cluster that may have an attempt at work.

    The slots are read before the catalog. The catalog knows each attempt before its slot is made, so a slot without
    an attempt at work is dead, and its name is never used again.
    """
    try:
        found = [name for name in list_slots(node) if is_attempt_slot(name, place.installation)]
        place.control.node_watch.note(node, "")
        alive = _slot_at_work(place, at_work) if found and at_work else None
        dead = [name for name in found if name != alive]
        removed = remove_slots(node, dead) if dead else []
    except NodeUnreachable as silent:
        place.control.node_watch.note(node, str(silent))
        return []
    if removed:
        log.get("reaper").warning("slots of dead attempts removed", node=node.name, slots=removed)
    return removed


def _slot_at_work(place: FlowContext, cluster_id: str) -> str | None:
    with place.control.database.reading() as reading:
        operation = operations.active(reading, cluster_id)
        if operation is None or operation.kind is not Task.SNAPSHOTTING:
            return None
        number = captures.latest_attempt(reading, operation.subject_id)
    return place.slot(operation.subject_id, number)
