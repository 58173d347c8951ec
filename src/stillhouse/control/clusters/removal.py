"""Clusters of servers that are somebody's, forgotten."""

from collections.abc import Sequence

from stillhouse.control.audit import audited
from stillhouse.control.clusters.check_ups import registered_cluster
from stillhouse.control.clusters.requests import delete_cluster
from stillhouse.control.context import Control
from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable, StateForbids
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.wal import lineage


def remove_cluster(
    control: Control, project: str, cluster_id: str, keep_last_manual: int, *, dead_nodes: bool = False
) -> str:
    """Accept the removal of a registered cluster: its servers go on, with nothing of ours on them. Returns the
    operation's id.

    A node that does not answer is refused by name, unless `dead_nodes` are forgotten too.
    """
    cluster = registered_cluster(control, project, cluster_id)
    if not dead_nodes and (dead := _dead(cluster.nodes)):
        with audited(control, project, "RemoveCluster", f"cluster/{cluster_id}"):
            raise StateForbids(
                f"a node would keep our schema: {'; '.join(dead)}",
                hint="have it answer, or forget it as well (--dead-nodes), and if it ever comes back run there, in its"
                f" database postgres: {lineage.REMOVAL}",
            )
    return delete_cluster(control, project, cluster_id, keep_last_manual)


def _dead(nodes: Sequence[Node]) -> list[str]:
    dead = []
    for node in nodes:
        try:
            session.connect(node, MAINTENANCE, application_name="stillhouse life sign").close()
        except NodeUnreachable as error:
            dead.append(error.message)
    return dead
