"""A lost catalog, made anew from the repository."""

from collections.abc import Callable, Sequence
from functools import partial

from stillhouse import atomic_file
from stillhouse.bootstrap.catalog import open_catalog
from stillhouse.config import Settings
from stillhouse.control.upkeep import host_files
from stillhouse.control.upkeep.rebuild_catalog import Rebuilt, is_written, rows_of, write
from stillhouse.data_lock import lock_data_directory
from stillhouse.domain.cluster import Node
from stillhouse.errors import InvalidInput
from stillhouse.postgres.host.account import make_passable
from stillhouse.repository.format.cipher_keys import Kek, read_kek, write_kek
from stillhouse.repository.objects import identity as repository_identity
from stillhouse.repository.upkeep.inventory import take_inventory
from stillhouse.storage.store import ObjectStore
from stillhouse.warehouse.cluster import embedded


def rebuild_catalog(settings: Settings, bucket: ObjectStore, kek: Kek, projects: Sequence[str]) -> Rebuilt:
    """Rebuild the catalog of a data directory from the repository's snapshots.

    If it is killed and called again, the result is the same. Raises InvalidInput for a directory that belongs to
    another repository or KEK, or has a catalog in use.
    """
    make_passable(settings.data)
    with lock_data_directory(settings.data):
        inventory = take_inventory(bucket, kek)
        standing = _standing_nodes(settings)
        with open_catalog(settings) as context:
            rebuilt = rows_of(inventory, context.clock.now(), standing, projects)
            if is_written(context, rebuilt):
                return rebuilt
            repository_id = repository_identity.claim(bucket)
            remembered = settings.data / host_files.REPOSITORY_FILE
            if atomic_file.drawn_once(remembered, lambda: repository_id) != repository_id:
                raise InvalidInput(f"{settings.data} belongs to another repository")
            kek_file = settings.data / "kek"
            if not write_kek(kek, kek_file) and read_kek(kek_file) != kek:
                raise InvalidInput(f"{kek_file} holds another key-encryption key than {kek.id}")
            # The rows come last, so that the files beside them are there when they are.
            write(context, rebuilt)
            return rebuilt


def _standing_nodes(settings: Settings) -> Callable[[str], tuple[Node, ...]]:
    """Return a look-up of a cluster's nodes on this host. It does not make a new place for warehouses."""
    if not (settings.data / "clusters").is_dir():
        return lambda cluster_id: ()
    site = embedded.open_site(
        settings.data, pg_bin=settings.pg_bin, pg_bins=settings.pg_directories, os_user=settings.os_user
    )
    return partial(embedded.standing_nodes, site)
