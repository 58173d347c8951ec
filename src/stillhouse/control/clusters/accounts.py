"""Accounts of the operating system for clusters: shared ones, and accounts of a cluster's own."""

import os
from dataclasses import replace

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.catalog.schema.database import Transaction
from stillhouse.config import Settings
from stillhouse.control.audit import ACCEPTED, record
from stillhouse.control.flow_context import FlowContext
from stillhouse.domain.cluster import Cluster, ClusterStatus, Node, Provider
from stillhouse.errors import StateForbids
from stillhouse.warehouse.cluster.upgrade import hand_over, renew_functions, settle


def is_account_shared(settings: Settings) -> bool:
    """Tell whether all servers run as one account. Without root there is no other account."""
    return os.geteuid() != 0 or not settings.os_uids


def check_account(reading: Transaction, settings: Settings, project: str) -> None:
    """Raise StateForbids for a second project if all clusters share an account, unless that was accepted."""
    if not is_account_shared(settings) or settings.shared_account == "accepted":
        return
    if any(cluster.project != project for cluster in clusters.all_clusters(reading)):
        raise StateForbids(
            "another project has clusters here, and all servers of this service run as one account of the host:"
            " an intruder who breaks out of one of them has them all",
            hint="run the service as root, or accept it by STILLHOUSE_SHARED_ACCOUNT=accepted",
        )


def hand_over_cluster(place: FlowContext, cluster: Cluster) -> None:
    """Give an earlier version's cluster an account and passwords of its own; its servers stop for that."""
    is_whole = cluster.status is not ClusterStatus.CREATING
    nodes = hand_over(place.site, cluster.id, cluster.user_name, is_whole=is_whole)
    known = _with_lineages(nodes, cluster)
    # If the service is killed after this, all of it is done again, and told once.
    if list(cluster.nodes) != known:
        with place.control.database.transaction() as transaction:
            if cluster.nodes:
                clusters.save_nodes(transaction, cluster.id, known)
            record(
                place.control,
                transaction,
                cluster.project,
                "HandOverCluster",
                f"cluster/{cluster.id}",
                ACCEPTED,
                f"its servers run as {nodes[0].os_user or 'the account that all share'}, with fresh passwords",
            )
    settle(place.site, cluster.id)
    log.get("service").warning(
        "the cluster has an account and passwords of its own now",
        cluster=cluster.id,
        os_user=nodes[0].os_user,
    )


def renew_cluster_functions(cluster: Cluster) -> None:
    """Replace the functions that an earlier version made on the cluster's coordinator. Its servers are at work.

    A server that is somebody's has no functions of ours.
    """
    if cluster.provider is not Provider.EMBEDDED:
        return
    if renewed := renew_functions(cluster.coordinator, cluster.user_name):
        log.get("service").warning(
            "the functions of an earlier version were replaced", cluster=cluster.id, databases=renewed
        )


def _with_lineages(nodes: tuple[Node, ...], cluster: Cluster) -> list[Node]:
    lineages = {node.id: node.lineage for node in cluster.nodes}
    return [replace(node, lineage=lineages.get(node.id, node.lineage)) for node in nodes]
