"""A whole service: its engine, its repository and its clusters' servers, put together."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from stillhouse import atomic_file, log
from stillhouse.bootstrap.catalog import database_at, open_catalog, up_to_date
from stillhouse.catalog import clusters
from stillhouse.catalog.access.os_accounts import claim_uid
from stillhouse.catalog.installation import identity
from stillhouse.catalog.installation.hold import Told, held
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.place import place_of
from stillhouse.config import Settings
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.control.clusters import accounts
from stillhouse.control.clusters import flows as cluster_flows
from stillhouse.control.clusters.accounts import is_account_shared
from stillhouse.control.clusters.addresses import outside_of, sharing_ports
from stillhouse.control.context import Control, Vault
from stillhouse.control.copy_turns import CopyTurns
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
from stillhouse.control.upkeep.own_bytes import Measurer
from stillhouse.data_lock import lock_data_directory
from stillhouse.domain.cluster import Cluster, ClusterStatus, Provider
from stillhouse.durable.flows import Flows
from stillhouse.errors import StillhouseError
from stillhouse.postgres.host.account import create_cluster_account, free_uid, make_passable, uid_range
from stillhouse.repository.format.cipher_keys import Kek, read_kek
from stillhouse.repository.objects import identity as repository_identity
from stillhouse.repository.upkeep.kek_fit import kek_of_service
from stillhouse.storage.open import SHORTLY, open_store
from stillhouse.storage.probe import probe
from stillhouse.storage.store import ObjectStore
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cluster.provider import servers_of
from stillhouse.warehouse.cluster.upgrade import is_due
from stillhouse.workers.jobs import Repository

_FLOWS = {
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


@dataclass(frozen=True)
class Service:
    """A service at work."""

    control: Control
    repository: Repository
    timer: Timer

    def drain(self, within_seconds: float) -> bool:
        """Begin nothing more, and wait for running flows to end; False if one still runs after `within_seconds`."""
        self.timer.stop()
        self.control.flows.stop()
        self.control.bells.end()
        return self.control.flows.drain(within_seconds)


@contextmanager
def open_control(settings: Settings) -> Iterator[Control]:
    """Open the catalog, and the engine's queue of flows: a running service beside this process carries them out."""
    with open_catalog(settings) as context:
        yield _with_flows(context)


def _with_flows(context: CatalogContext) -> Control:
    settings, database = context.settings, context.database
    flows = Flows(
        database.url,
        after_commit,
        others=_FLOWS,
        connections=20 if database.is_sqlite else settings.catalog_connections // 2,
    )
    return Control(database, context.sealer, context.clock, settings, flows=flows)


@contextmanager
def open_service(settings: Settings) -> Iterator[Service]:
    """Open a whole service over its data directory, and lock it: servers are adopted, flows run.

    A standby waits here until no other service works on the catalog. Raises DataDirectoryInUse, CatalogInUse, or
    InvalidInput for a place or a store that cannot be used.
    """
    make_passable(settings.data)
    with ExitStack() as stack:
        stack.enter_context(lock_data_directory(settings.data))
        _close_to_others(settings.data)
        catalog = place_of(settings.catalog, settings.data)
        database = stack.enter_context(database_at(catalog, settings))
        hold = stack.enter_context(held(database, stands_by=settings.standby))
        if not catalog.is_file:
            database.migrate()
            host_files.bring_back(database, settings.data, partial(read_kek, _kek_file(settings)))
        control = _with_flows(up_to_date(database, catalog, settings))
        if hold is not None:
            hold.watch(_told(control.flows))
        if is_account_shared(settings):
            log.get("service").warning(
                "all clusters' servers run as one account, which is one domain of trust; as root each has its own",
                second_project=settings.shared_account or "refused",
            )
        place = _open_flow_context(control)
        control = place.control
        for name, flow in _FLOWS.items():
            control.flows.register(name, partial(flow, place))
        _hand_over(place)
        _adopt(place)
        embedded.clear_scratch(place.site)
        control.flows.launch()
        snapshot_turns.start_waiting(place, control.clock.now())
        reaper = Reaper(_ROUNDS_BETWEEN_LOOKS * settings.timer_seconds)
        check_ups = CheckUps(timedelta(hours=settings.check_up_hours))
        # The timer looks again soon, and must not keep the service from ending.
        duties: dict[str, Duty] = {
            **_DUTIES,
            "slots": reaper,
            "check-ups": check_ups,
            "flow records": FlowRecords(),
            "bytes of snapshots": Measurer(),
            "readiness": Lookout(_ROUNDS_BETWEEN_LOOKS * settings.timer_seconds),
        }
        timer = Timer(place.hurried, duties, settings.timer_seconds)
        stack.callback(timer.stop)
        timer.start()
        yield Service(control, place.vault.repository, timer)


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


def _open_flow_context(control: Control) -> FlowContext:
    settings = control.settings
    site = _open_site(control)
    if why := site.why_no_network():
        log.get("service").warning(
            "a clone in quarantine has no network of its own here: functions of its users might reach out of it",
            reason=why,
        )
    location = settings.repository or str(settings.data.resolve() / "repository")
    retry_for = timedelta(seconds=settings.store_retry_seconds)
    # For the start and for requests: their callers wait, and learn soon that the store is away.
    store = open_store(location, retry_for=min(retry_for, SHORTLY))
    remembered = settings.data / host_files.REPOSITORY_FILE
    if remembered.exists():  # before anything is made there: an unmounted disk looks like an empty repository
        repository_identity.check(store, remembered.read_text().strip())
    probe(store)
    kek = _open_kek(control, store, location)
    repository_id = atomic_file.drawn_once(remembered, lambda: repository_identity.claim(store))
    repository_identity.check(store, repository_id)
    # Slots carry the installation's name, because other services may use the same warehouse.
    installation = (settings.data / identity.ID_FILE).read_text().strip()
    repository = Repository(location, repository_id, kek, retry_for)
    host_files.keep(control.database, settings.data, repository)
    control = replace(control, vault=Vault(store, repository))
    patient = Vault(open_store(location, retry_for=retry_for), repository)
    turns = CopyTurns(control.settings.nodes_at_once)
    return FlowContext(control, site, patient, installation, turns)


def _open_site(control: Control) -> Site:
    settings = control.settings
    return embedded.open_site(
        settings.data,
        pg_bin=settings.pg_bin,
        pg_bins=settings.pg_directories,
        os_user=settings.os_user,
        claim=partial(_claim_account, control),
        clone_network=settings.clone_network,
        outside=outside_of(settings),
    )


def _claim_account(control: Control, cluster_id: str) -> str:
    """Make an account of the cluster's own, if the service is root and its settings do not make clusters share one."""
    if is_account_shared(control.settings):
        return ""
    draw = partial(free_uid, uid_range(control.settings.os_uids))
    with control.database.transaction() as transaction:
        uid = claim_uid(transaction, cluster_id, draw, control.clock.now())
    return create_cluster_account(uid)


def _kek_file(settings: Settings) -> Path:
    return settings.kek_file or settings.data / "kek"


def _open_kek(control: Control, store: ObjectStore, location: str) -> Kek:
    """Open the KEK. Raises InvalidInput if it does not open the keys of the service's clusters in the repository."""
    kek_file = _kek_file(control.settings)
    with control.database.reading() as reading:
        known = clusters.in_need_of_keys(reading)
    kek, is_new = kek_of_service(store, location, kek_file, known)
    if is_new:
        log.get("service").warning(
            "a new key-encryption key was made: copy it to a safe place now, for without it the repository is worth"
            " nothing, and the service does not start",
            file=str(kek_file),
            key_id=kek.id,
        )
    return kek


def _close_to_others(data: Path) -> None:
    """Close the files that an earlier version left open to the host's other accounts."""
    for path in (*data.iterdir(), *data.glob("clusters/*/nodes.json")):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
    if (data / "repository").is_dir():
        (data / "repository").chmod(0o700)


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
    for cluster in found:
        is_at_work = cluster.status is ClusterStatus.AVAILABLE and not cluster.stopped
        if is_at_work and not is_due(place.site, cluster.id):
            _adopt_cluster(place, cluster)
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


def leave_servers(control: Control) -> None:
    """End a service: remove scratch clones, and stop the clusters' servers if its settings say so."""
    site = _open_site(control)
    if control.settings.stop_clusters:
        _stop_servers(control, site)
    embedded.clear_scratch(site)


def _stop_servers(control: Control, site: Site) -> None:
    """Stop the servers on this host. A cluster whose restore failed has none, nor has one of a host that is lost."""
    with control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    for cluster in found:
        if cluster.provider is Provider.EMBEDDED and embedded.planned_nodes(site, cluster.id):
            servers_of(site, cluster).stop()
