"""This host and the repository, opened for a service: the places of servers, the key, and the context of flows."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from stillhouse import atomic_file, log
from stillhouse.catalog import clusters
from stillhouse.catalog.access.os_accounts import claim_uid
from stillhouse.catalog.installation import identity
from stillhouse.config import Settings
from stillhouse.control.clusters.accounts import is_account_shared
from stillhouse.control.clusters.addresses import outside_of
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.threads.copy_turns import CopyTurns
from stillhouse.control.upkeep import host_files
from stillhouse.domain.cluster import Provider
from stillhouse.postgres.host.account import create_cluster_account, free_uid, uid_range
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.repository.objects import identity as repository_identity
from stillhouse.repository.upkeep.kek_fit import kek_of_service
from stillhouse.storage.open import SHORTLY, open_store
from stillhouse.storage.probe import probe
from stillhouse.storage.store import ObjectStore
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cluster.planned_nodes import has_plan
from stillhouse.warehouse.cluster.provider import servers_of
from stillhouse.workers.jobs import Repository


def open_flow_context(control: Control) -> FlowContext:
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


def kek_file(settings: Settings) -> Path:
    return settings.kek_file or settings.data / "kek"


def _open_kek(control: Control, store: ObjectStore, location: str) -> Kek:
    """Open the KEK. Raises InvalidInput if it does not open the keys of the service's clusters in the repository."""
    file = kek_file(control.settings)
    with control.database.reading() as reading:
        known = clusters.in_need_of_keys(reading)
    kek, is_new = kek_of_service(store, location, file, known)
    if is_new:
        log.get("service").warning(
            "a new key-encryption key was made: copy it to a safe place now, for without it the repository is worth"
            " nothing, and the service does not start",
            file=str(file),
            key_id=kek.id,
        )
    return kek


def close_to_others(data: Path) -> None:
    """Close the files that an earlier version left open to the host's other accounts."""
    for path in (*data.iterdir(), *data.glob("clusters/*/nodes.json")):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
    if (data / "repository").is_dir():
        (data / "repository").chmod(0o700)


def leave_servers(control: Control) -> None:
    """End a service: remove scratch clones, and stop the clusters' servers if its settings say so."""
    site = _open_site(control)
    if control.settings.stop_clusters:
        _stop_servers(control, site)
    embedded.clear_scratch(site)


def _stop_servers(control: Control, site: Site) -> None:
    """Stop the servers on this host. A cluster whose restore failed has none, nor has one of another host."""
    with control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    for cluster in found:
        if cluster.provider is Provider.EMBEDDED and has_plan(site.clusters / cluster.id):
            servers_of(site, cluster).stop()
