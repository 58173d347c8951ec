"""The work of the one service that leads a catalog: it adopts the clusters, carries out flows, and keeps the timer."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.catalog.installation.hold import Hold, Told
from stillhouse.control.clusters import accounts
from stillhouse.control.clusters import flows as cluster_flows
from stillhouse.control.clusters.addresses import sharing_ports
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.proofs import prove as prove_snapshot
from stillhouse.control.proofs import requests as proofs
from stillhouse.control.reaping import Reaper, reap
from stillhouse.control.reports.readiness import Lookout
from stillhouse.control.restores import cluster as restore_cluster
from stillhouse.control.restores import tables as restore_tables
from stillhouse.control.schedule import automated
from stillhouse.control.snapshots import capture_node
from stillhouse.control.snapshots import copy as copy_snapshot
from stillhouse.control.snapshots import create as create_snapshot
from stillhouse.control.snapshots import queue as snapshot_turns
from stillhouse.control.timer import Duty, Timer
from stillhouse.control.upkeep import certificates, findings, host_files, server_logs
from stillhouse.control.upkeep import collect as collect_cluster
from stillhouse.control.upkeep import scrub as scrub_cluster
from stillhouse.control.upkeep.check_ups import CheckUps
from stillhouse.control.upkeep.flow_records import FlowRecords
from stillhouse.control.upkeep.leavings import Leavings
from stillhouse.control.upkeep.news import Telling
from stillhouse.control.upkeep.own_bytes import Measurer
from stillhouse.domain.cluster import Cluster, ClusterStatus
from stillhouse.durable.flows import Flows
from stillhouse.errors import StillhouseError
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.provider import servers_of
from stillhouse.warehouse.cluster.upgrade import is_due

FLOWS = {
    "create_snapshot": create_snapshot.create_snapshot,
    "capture_node": capture_node.capture_node,
    "restore_cluster": restore_cluster.restore_cluster,
    "restore_node": restore_cluster.restore_node,
    "restore_tables": restore_tables.restore_tables,
    "provision_cluster": cluster_flows.provision_cluster,
    "restart_cluster": cluster_flows.restart_cluster,
    "stop_cluster": cluster_flows.stop_cluster,
    "start_cluster": cluster_flows.start_cluster,
    "delete_cluster": cluster_flows.delete_cluster,
    "delete_snapshot": cluster_flows.delete_snapshot,
    "copy_snapshot": copy_snapshot.copy_snapshot,
    "scrub_cluster": scrub_cluster.scrub_cluster,
    "prove_snapshot": prove_snapshot.prove_snapshot,
    "collect_cluster": collect_cluster.collect_cluster,
}

# The duties of the service's timer, in this order.
_DUTIES = {
    "waiting snapshots": snapshot_turns.start_waiting,
    "automated snapshots": automated.start_due_snapshots,
    "retention": automated.start_due_retention,
    "collections": collect_cluster.start_due_collections,
    "findings": findings.look_for_findings,
    "scrubs": scrub_cluster.start_due_scrubs,
    "proofs": proofs.start_due_proofs,
    "server logs": server_logs.rotate_server_logs,
    "certificates": certificates.renew_certificates,
}
_ROUNDS_BETWEEN_LOOKS = 6  # of the timer: a look asks every node of every cluster


# Of clusters that are adopted: one that is silent must not keep the work of the others waiting.
_ADOPTED_AT_ONCE = 16


def lead(place: FlowContext, hold: Hold | None) -> Timer:
    """Take the lead, which is ours by the hold of the catalog. Return the timer, which has begun.

    When the process before was killed, its flows go on from here.
    """
    control = place.control
    host_files.keep(control.database, control.settings.data, place.vault.repository)
    if hold is not None:
        hold.watch(_told(control.flows))
    for name, flow in FLOWS.items():
        control.flows.register(name, partial(flow, place))
    _hand_over(place)
    _adopt(place)
    embedded.clear_scratch(place.site)
    control.flows.launch()
    control.following.end()
    snapshot_turns.start_waiting(place, control.clock.now())
    timer = _timer(place)
    timer.start()
    return timer


def followers_timer(place: FlowContext) -> Timer:
    """Return the timer of a replica that follows: it looks at its own parts and its own disk alone."""
    every = place.control.settings.timer_seconds
    duties: dict[str, Duty] = {"leavings": Leavings(), "readiness": Lookout(_ROUNDS_BETWEEN_LOOKS * every)}
    return Timer(place.hurried, duties, every)


def _timer(place: FlowContext) -> Timer:
    settings = place.control.settings
    slow = _ROUNDS_BETWEEN_LOOKS * settings.timer_seconds
    # The timer looks again soon, and must not keep the service from ending.
    duties: dict[str, Duty] = {
        **_DUTIES,
        "leavings": Leavings(),
        "slots": Reaper(slow),
        "check-ups": CheckUps(timedelta(hours=settings.check_up_hours)),
        "flow records": FlowRecords(),
        "bytes of snapshots": Measurer(),
        "readiness": Lookout(slow),
        "news": Telling(),
    }
    return Timer(place.hurried, duties, settings.timer_seconds)


def _told(flows: Flows) -> Told:
    """Return the acts of a service whose hold of the catalog is lost, back, or another's."""

    def lost() -> None:
        flows.pause()
        log.get("service").error("the hold of the catalog is lost: nothing begins until it is back")

    def regained() -> None:
        flows.go_on()
        log.get("service").warning(
            "the hold of the catalog is back, and no other service has worked meanwhile"
        )

    def taken(by: str) -> None:
        # As after kill -9: the other service carries on what is under way, and processes below this one end with it.
        log.get("service").error(
            "another service works on the catalog now: this one ends at once", service=by
        )
        os._exit(1)

    return Told(lost, regained, taken)


def _hand_over(place: FlowContext) -> None:
    """Bring clusters of an earlier version to the form of this version; once, before anything else."""
    with place.control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    for cluster in found:
        if cluster.status is not ClusterStatus.DELETING and is_due(place.site, cluster.id):
            try:
                accounts.hand_over_cluster(place, cluster)
            except StillhouseError as error:
                _note_failure(place, cluster, error)


def _note_failure(place: FlowContext, cluster: Cluster, error: StillhouseError) -> None:
    with place.control.database.transaction() as transaction:
        clusters.note_failure(
            transaction, cluster.id, place.control.clock.now(), code=error.code, reason=str(error)
        )


def _adopt(place: FlowContext) -> None:
    """Find or start the servers of every cluster at work, and remove the slots that dead attempts left there."""
    with place.control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    at_work = [one for one in found if one.status is ClusterStatus.AVAILABLE and not one.stopped]
    adopted = [one for one in at_work if not is_due(place.site, one.id)]
    with ThreadPoolExecutor(_ADOPTED_AT_ONCE, thread_name_prefix="adoption") as pool:
        list(pool.map(partial(_adopt_cluster, place), adopted))
    for port, names in sharing_ports(found) if place.site.binaries.outside else ():
        log.get("service").warning(
            "clusters share a port, so other hosts reach only one of them; restore the others with a port of their own",
            port=port,
            clusters=names,
        )


def _adopt_cluster(place: FlowContext, cluster: Cluster) -> None:
    """Adopt one cluster. A failure goes to its row, and does not keep the service from serving the others."""
    try:
        servers_of(place.site, cluster).have_at_work()
        accounts.renew_cluster_functions(cluster)
        dropped = reap(place, cluster)
        log.get("service").info("cluster adopted", cluster=cluster.id, slots_dropped=dropped)
    except StillhouseError as error:
        _note_failure(place, cluster, error)
