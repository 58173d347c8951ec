"""`stillhouse repo`: work on a repository with nothing but the bucket and the KEK."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from stillhouse.repository.keys import Kek
    from stillhouse.storage.store import ObjectStore

repo = App(name="repo", help="The repository itself: the bucket and the KEK are all that is needed.")

Location = Annotated[
    str, Parameter(env_var="STILLHOUSE_REPOSITORY", help="A directory or s3://bucket/prefix.")
]
KekFile = Annotated[Path, Parameter(env_var="STILLHOUSE_KEK_FILE", help="The key-encryption key.")]


@dataclass(frozen=True)
class Bucket:
    """A repository opened without a service."""

    store: "ObjectStore"
    kek: "Kek"


def open_bucket(repository: str, kek_file: Path) -> Bucket:
    """Raises InvalidInput where there is no repository or no key: a command must not make either."""
    from stillhouse.errors import InvalidInput
    from stillhouse.repository import identity
    from stillhouse.repository.keys import load_or_create_kek
    from stillhouse.storage.open import open_store

    if "://" not in repository and not Path(repository).is_dir():
        raise InvalidInput(f"no repository at {repository}", hint="give a directory or s3://bucket/prefix")
    if not kek_file.is_file():
        raise InvalidInput(f"no key-encryption key at {kek_file}", hint="without it nothing can be read")
    store = open_store(repository)
    identity.demand(store, repository)
    kek, _ = load_or_create_kek(kek_file)
    return Bucket(store, kek)
