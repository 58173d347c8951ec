"""Composition root: the one place that picks implementations and puts a service together."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.catalog.data_lock import lock_data_directory
from stillhouse.catalog.database import Database
from stillhouse.catalog.sealing import Sealer
from stillhouse.clock import SystemClock
from stillhouse.config import Settings
from stillhouse.control import (
    capture_node,
    cluster_flows,
    collect_cluster,
    create_snapshot,
    restore_cluster,
)
from stillhouse.control.context import Control, Vault
from stillhouse.control.workplace import Workplace, reap
from stillhouse.domain.cluster import Cluster, ClusterStatus
from stillhouse.durable.flows import Flows
from stillhouse.errors import StillhouseError
from stillhouse.node.jobs import Repository
from stillhouse.repository import identity
from stillhouse.repository.keys import load_or_create_kek
from stillhouse.storage.open import open_store, probe
from stillhouse.warehouse import embedded

_FLOWS = {
    "create_snapshot": create_snapshot.create_snapshot,
    "capture_node": capture_node.capture_node,
    "restore_cluster": restore_cluster.restore_cluster,
    "restore_node": restore_cluster.restore_node,
    "provision_cluster": cluster_flows.provision_cluster,
    "restart_cluster": cluster_flows.restart_cluster,
    "delete_cluster": cluster_flows.delete_cluster,
    "delete_snapshot": cluster_flows.delete_snapshot,
    "collect_cluster": collect_cluster.collect_cluster,
}


@contextmanager
def open_control(settings: Settings) -> Iterator[Control]:
    """The catalog side alone: enough for requests and key commands, beside a running service too."""
    settings.data.mkdir(parents=True, exist_ok=True)
    database = Database.in_directory(settings.data)
    try:
        database.migrate()
        flows = Flows(database.url)
        yield Control(database, flows, Sealer.in_directory(settings.data), SystemClock(), settings)
    finally:
        database.close()


@contextmanager
def open_service(settings: Settings) -> Iterator[Control]:
    """A whole service over its data directory, which no other has meanwhile: servers adopted, flows running.

    Raises DataDirectoryInUse, or InvalidInput for a place or a store that will not do.
    """
    settings.data.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(lock_data_directory(settings.data))
        control = stack.enter_context(open_control(settings))
        place = _open_workplace(control)
        control = place.control
        for name, flow in _FLOWS.items():
            control.flows.register(name, partial(flow, place))
        _adopt(place)
        control.flows.launch()
        yield control


def _open_workplace(control: Control) -> Workplace:
    settings = control.settings
    site = embedded.open_site(settings.data, pg_bin=settings.pg_bin, os_user=settings.os_user)
    location = settings.repository or str(settings.data.resolve() / "repository")
    store = open_store(location)
    probe(store)
    kek_file = settings.kek_file or settings.data / "kek"
    kek, is_new = load_or_create_kek(kek_file)
    if is_new:
        log.get("service").warning(
            "a new key-encryption key was made: without a copy of it the repository is worth nothing",
            file=str(kek_file),
            kek=kek.id,
        )
    repository_id = _remembered(settings.data / "repository.id", lambda: identity.claim(store))
    identity.check(store, repository_id)
    # Slots on a warehouse that others use as well carry the installation's name.
    installation = _remembered(settings.data / "installation", lambda: secrets.token_hex(4))
    repository = Repository(location, repository_id, kek)
    control = replace(control, vault=Vault(store, repository))
    return Workplace(control, site, store, repository, installation)


def _remembered(path: Path, draw: Callable[[], str]) -> str:
    """What was drawn for this data directory, once."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(draw())
        fresh.replace(path)
    return path.read_text().strip()


def _adopt(place: Workplace) -> None:
    """Find or start the servers of every cluster at work, and drop the slots that a dead service left there."""
    with place.control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    for cluster in found:
        if cluster.status is ClusterStatus.AVAILABLE and not cluster.stopped:
            _adopt_cluster(place, cluster)


def _adopt_cluster(place: Workplace, cluster: Cluster) -> None:
    """One cluster that does not start must not keep the service from serving the others: its row says why."""
    try:
        embedded.start_all(place.site, cluster.nodes)
        dropped = reap(place, cluster)
        log.get("service").info("cluster adopted", cluster=cluster.id, slots_dropped=dropped)
    except StillhouseError as error:
        with place.control.database.transaction() as transaction:
            clusters.note_failure(
                transaction, cluster.id, place.control.clock.now(), code=error.code, reason=str(error)
            )


def stop_servers(control: Control) -> None:
    """Stop the servers of all clusters; at the orderly end of a service."""
    settings = control.settings
    site = embedded.open_site(settings.data, pg_bin=settings.pg_bin, os_user=settings.os_user)
    with control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    for cluster in found:
        embedded.stop_all(site, cluster.nodes)
