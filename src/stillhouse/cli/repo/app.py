"""`stillhouse repo`: work on a repository with nothing but the bucket and the KEK."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from stillhouse.repository.format.cipher_keys import Kek
    from stillhouse.storage.store import ObjectStore

repo = App(name="repo", help="The repository itself: the bucket and the KEK are all that is needed.")

Location = Annotated[
    str, Parameter(env_var="STILLHOUSE_REPOSITORY", help="A directory or s3://bucket/prefix.")
]
KekFile = Annotated[Path, Parameter(env_var="STILLHOUSE_KEK_FILE", help="The key-encryption key.")]


@dataclass(frozen=True)
class Bucket:
    """A repository opened without a service, and the clusters in it, or the one that was asked for."""

    store: "ObjectStore"
    kek: "Kek"
    clusters: list[str]


def open_bucket(repository: str, kek_file: Path, cluster: str = "", *, any_kek: bool = False) -> Bucket:
    """Open a repository. Raises InvalidInput if it or the key is missing, since a command must not make either. Also
    raises it for a key that does not open the repository's keys, unless `any_kek` is set.
    """
    from stillhouse.domain.ids import is_uuid
    from stillhouse.errors import InvalidInput
    from stillhouse.repository.format.cipher_keys import read_kek
    from stillhouse.repository.objects import identity
    from stillhouse.repository.upkeep.inventory import clusters_in
    from stillhouse.repository.upkeep.kek_fit import demand_fit
    from stillhouse.storage.open import SHORTLY, is_directory, open_store

    if cluster and not is_uuid(cluster):
        raise InvalidInput("a cluster id is a UUID")

    if is_directory(repository) and not Path(repository).is_dir():
        raise InvalidInput(f"no repository at {repository}", hint="give a directory or s3://bucket/prefix")
    kek = read_kek(kek_file)
    identity.demand(open_store(repository, retry_for=SHORTLY), repository)  # a mistyped address fails at once
    store = open_store(repository)
    clusters = [cluster.lower()] if cluster else clusters_in(store)
    if not any_kek:
        demand_fit(store, repository, kek, kek_file, clusters)
    return Bucket(store, kek, clusters)
