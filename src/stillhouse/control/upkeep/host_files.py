"""The catalog keeps what another host needs to take the service's place: the key of secrets, and the repository's id.

The key is sealed under the KEK. So whoever has the catalog, the KEK and the repository has the installation, and a new
data directory becomes the installation's. Servers that were made on the lost host are not brought back by this.
"""

from collections.abc import Callable
from pathlib import Path

from stillhouse import atomic_file
from stillhouse.catalog.installation import identity
from stillhouse.catalog.installation.identity import Installation, State
from stillhouse.catalog.schema.database import Database
from stillhouse.errors import CatalogNotOurs
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.sealing import KEY_FILE, Sealer, key_in
from stillhouse.workers.jobs import Repository

REPOSITORY_FILE = "repository.id"


def keep(database: Database, data: Path, repository: Repository) -> None:
    """Keep them in the catalog. Raises CatalogNotOurs if the catalog's snapshots are in another repository."""
    kek = repository.kek
    with database.transaction() as transaction:
        known = identity.find(transaction)
        assert known is not None  # the catalog was joined
        _check_repository(known, repository)
        if (known.repository, known.kek) != (repository.id, kek.id):
            sealed = Sealer(kek.for_secrets).seal(key_in(data).hex(), _row(known.id))
            identity.keep(transaction, repository.id, kek.id, sealed)


def check(database: Database, data: Path, repository: Repository) -> None:
    """Raise CatalogNotOurs unless this host has the KEK, the repository and the key of secrets that the catalog keeps.

    So a replica with other ones is refused before it answers, or seals anything.
    """
    with database.reading() as reading:
        known = identity.find(reading)
    assert known is not None  # the catalog was joined
    _check_repository(known, repository)
    _check_kek(known, repository.kek)
    if _key_in(known, repository.kek) != key_in(data):
        raise CatalogNotOurs(
            f"the {KEY_FILE} in {data} is not that of installation {known.id}",
            hint="begin with an empty directory, and a copy of the KEK",
        )


def bring_back(database: Database, data: Path, kek: Callable[[], Kek]) -> None:
    """Make a new data directory that of the catalog's installation. Any other directory is left as it is.

    Raises InvalidInput if there is no KEK, and CatalogNotOurs if it is not the catalog's.
    """
    if (data / identity.ID_FILE).exists():
        return
    with database.reading() as reading:
        known = identity.find(reading)
    if known is None or known.state is not State.HERE or not known.sealed_key:
        return
    opened = kek()
    _check_kek(known, opened)
    key = _key_in(known, opened)
    if not atomic_file.create(data / KEY_FILE, key) and key_in(data) != key:
        raise CatalogNotOurs(
            f"{data} has a {KEY_FILE} of its own, which is not that of installation {known.id}",
            hint="begin with an empty directory, and a copy of the KEK",
        )
    atomic_file.replace(data / REPOSITORY_FILE, known.repository.encode())
    atomic_file.replace(data / identity.ID_FILE, known.id.encode())


def _check_repository(known: Installation, repository: Repository) -> None:
    if known.repository not in ("", repository.id):
        raise CatalogNotOurs(
            f"{repository.location} is repository {repository.id}, and the catalog's snapshots are in repository"
            f" {known.repository}",
            hint="set STILLHOUSE_REPOSITORY to the one that belongs to the catalog",
        )


def _check_kek(known: Installation, kek: Kek) -> None:
    if kek.id != known.kek:
        raise CatalogNotOurs(
            f"the KEK here is {kek.id}, and the catalog's secrets are sealed under {known.kek}",
            hint="put a copy of that KEK here",
        )


def _key_in(known: Installation, kek: Kek) -> bytes:
    """Open the key of secrets that the catalog keeps."""
    return bytes.fromhex(Sealer(kek.for_secrets).unseal(known.sealed_key, _row(known.id)))


def _row(installation: str) -> str:
    return f"installation {installation}"
