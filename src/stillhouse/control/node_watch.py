"""Which nodes' servers answer: asked when somebody wants to know, and remembered for those who cannot wait.

A server that hangs holds up no one for long: each node is asked in a thread of its own, and a second one is not started
while the first waits.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from time import monotonic

from stillhouse import log
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import StillhouseError
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE

_GOOD_FOR_SECONDS = 2.0
AT_ONCE = 64  # a thread for each, since one that hangs must not keep others waiting
_SETTINGS = {"statement_timeout": "2s"}


@dataclass(frozen=True)
class _Seen:
    """`why` is empty if the node answered."""

    why: str
    at: float


@dataclass(frozen=True)
class _Look:
    node: Node
    thread: threading.Thread
    began: float


class NodeWatch:
    """The last look at each node, by its id. For any thread."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._looks: dict[str, _Look] = {}
        self._lock = threading.Lock()

    def seen(self, cluster: Cluster) -> Cluster:
        """Return the cluster with the last look at each of its nodes; no node is asked."""
        with self._lock:
            silent = {
                node.id: found.why
                for node in cluster.nodes
                if (found := self._seen.get(node.id)) is not None and found.why
            }
        return replace(cluster, silent=silent if cluster.should_answer else {})

    def silent(self, clusters: Iterable[Cluster]) -> dict[str, str]:
        """Return the reason of each node of these clusters that does not answer, though it should."""
        return {node_id: why for cluster in clusters for node_id, why in self.seen(cluster).silent.items()}

    def hear(self, silent: Mapping[str, str], nodes: Iterable[Node]) -> None:
        """Take over the last looks of another process at these nodes."""
        at = monotonic()
        with self._lock:
            self._seen = {node.id: _Seen(silent.get(node.id, ""), at) for node in nodes}

    def answers(self) -> dict[str, bool]:
        """Return whether each node answered the last time; of those asked since the start or their servers' change."""
        with self._lock:
            return {node_id: not seen.why for node_id, seen in self._seen.items()}

    def look(self, clusters: Sequence[Cluster], patience_seconds: float) -> list[Cluster]:
        """Ask the nodes that were not asked just now, and return the clusters with the results.

        A node that takes longer than `patience_seconds` does not answer. Among very many nodes only some are asked.
        """
        wanted = (node for cluster in clusters if cluster.should_answer for node in cluster.nodes)
        looks = list(islice((look for node in wanted if (look := self._ask(node)) is not None), AT_ONCE))
        for look in looks:
            look.thread.join(max(0.0, look.began + patience_seconds - monotonic()))
            if look.thread.is_alive():
                self.note(look.node, f"it has not answered within {patience_seconds:g} s")
        return [self.seen(cluster) for cluster in clusters]

    def forget(self, nodes: Iterable[Node]) -> None:
        """Forget the last looks at these nodes, since their servers were started or stopped."""
        with self._lock:
            for node in nodes:
                self._seen.pop(node.id, None)

    def _ask(self, node: Node) -> _Look | None:
        """Ask a node, unless it is being asked. Returns `None` if it was asked just now."""
        with self._lock:
            look = self._looks.get(node.id)
            if look is not None and look.thread.is_alive():
                return look
            found = self._seen.get(node.id)
            if found is not None and monotonic() - found.at < _GOOD_FOR_SECONDS:
                return None
            work = partial(self._look_at, node)
            look = _Look(node, threading.Thread(target=work, name="node watch", daemon=True), monotonic())
            self._looks[node.id] = look
            look.thread.start()
            return look

    def _look_at(self, node: Node) -> None:
        self.note(node, silence(node))

    def note(self, node: Node, why: str) -> None:
        """Note the result of a look at a node; an empty `why` says that it answered."""
        with self._lock:
            before = self._seen.get(node.id)
            self._seen[node.id] = _Seen(why, monotonic())
        if why and (before is None or not before.why):
            log.get("nodes").warning("a node does not answer", node=node.name, reason=why)
        elif not why and before is not None and before.why:
            log.get("nodes").info("a node answers again", node=node.name)


def silence(node: Node) -> str:
    """Ask a node, and return why it does not answer, or "" if it does."""
    try:
        with closing(session.connect(node, MAINTENANCE, settings=_SETTINGS)) as connection:
            connection.execute("SELECT 1")
    except (StillhouseError, session.Error) as error:
        return " ".join(str(error).split())
    return ""
