"""Whether a key-encryption key (KEK) fits the repository: checked before any work on it.

Snapshots sealed with a wrong key could not be opened with the backup copy of the right one. So a wrong key is
refused, and no key is made for a repository that holds anything. The names of stored keys contain the id of the KEK
that wraps them (docs/format.md, section 2). So a listing is enough, and no secret is read.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stillhouse.errors import InvalidInput
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek, load_or_create_kek, read_kek, wrappings
from stillhouse.repository.upkeep.inventory import clusters_in
from stillhouse.storage.store import ObjectStore

_AT_ONCE = 16

Wrapped = Mapping[str, Mapping[int, set[str]]]
"""The ids of the KEKs that wrap each generation of each cluster's keys."""


def kek_of_service(
    store: ObjectStore, location: str, kek_file: Path, known: Iterable[str]
) -> tuple[Kek, bool]:
    """The KEK that fits the repository, and whether it was made now, which happens only for an empty repository.

    `known` are the clusters that the service works with: the KEK must open every generation of their keys. Other
    clusters of the repository count only if no known cluster has keys there. Raises InvalidInput, which names the file
    and the KEK that is needed.
    """
    if _is_missing(kek_file):
        demand_nothing(store, location, kek_file, "STILLHOUSE_KEK_FILE")
        return load_or_create_kek(kek_file)
    kek = read_kek(kek_file)
    found = _wrapped(store, known)
    closed = {cluster: keks for cluster, keks in found.items() if not _opens(kek, keks)}
    if closed:
        raise _other_kek(kek, kek_file, location, closed)
    if not found:
        demand_fit(store, location, kek, kek_file, clusters_in(store))
    return kek, False


def kek_for_copies(store: ObjectStore, location: str, kek_file: Path) -> tuple[Kek, bool]:
    """The same for a second repository, the target of copies."""
    if _is_missing(kek_file):
        demand_nothing(store, location, kek_file, "--to-kek-file")
        return load_or_create_kek(kek_file)
    kek = read_kek(kek_file)
    demand_fit(store, location, kek, kek_file, clusters_in(store))
    return kek, False


def kek_to_rotate_to(store: ObjectStore, location: str, old: Kek, kek_file: Path) -> tuple[Kek, bool]:
    """The new KEK. It is made when its file is missing, unless a rotation to another KEK has already begun."""
    if _is_missing(kek_file):
        for cluster, keks in _wrapped(store, clusters_in(store)).items():
            others = sorted(set().union(*keks.values()) - {old.id})
            if others and old.id in set().union(*keks.values()):
                raise InvalidInput(
                    f"there is no key at {kek_file}, and cluster {cluster} of {location} is wrapped by KEK"
                    f" {', '.join(others)} too",
                    hint="a rotation to that one has begun: go on with its file, no new key is made",
                )
    return load_or_create_kek(kek_file)


def demand_fit(store: ObjectStore, location: str, kek: Kek, kek_file: Path, clusters: Iterable[str]) -> None:
    """Raise InvalidInput when there are keys and this KEK wraps no cluster's: nothing is damaged, the key is wrong.

    A KEK that wraps some of them is accepted: the others belong to another service, or a rotation is under way.
    """
    found = _wrapped(store, clusters)
    if found and not any(kek.id in keks for of_cluster in found.values() for keks in of_cluster.values()):
        raise _other_kek(kek, kek_file, location, found)


def demand_nothing(store: ObjectStore, location: str, kek_file: Path, said_by: str) -> None:
    """Raise InvalidInput where the repository holds anything: then a missing key must be brought back."""
    first = next(iter(store.list(layout.CLUSTERS)), None)
    if first is None:
        return
    cluster = first.key.split("/")[1]
    keks = sorted(set().union(*wrappings(store, cluster).values()))
    sealed = f", sealed with KEK {', '.join(keks)}" if keks else ""
    raise InvalidInput(
        f"there is no key-encryption key at {kek_file}, but {location} holds snapshots{sealed}",
        hint=f"put a copy of that key there, or say by {said_by} where it is; a new key would open nothing of them",
    )


def _is_missing(kek_file: Path) -> bool:
    """Whether the file is missing. Raises InvalidInput where that cannot be found out: the file may well exist."""
    try:
        return not kek_file.exists()
    except OSError as error:
        raise InvalidInput(f"the key in {kek_file} cannot be read: {error.strerror}") from error


def _wrapped(store: ObjectStore, clusters: Iterable[str]) -> Wrapped:
    """The KEKs that wrap each cluster's keys. Clusters without keys are left out."""
    listed = list(clusters)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = zip(listed, pool.map(lambda cluster: wrappings(store, cluster), listed), strict=True)
        return {cluster: keks for cluster, keks in found if keks}


def _opens(kek: Kek, generations: Mapping[int, set[str]]) -> bool:
    return all(kek.id in keks for keks in generations.values())


def _other_kek(kek: Kek, kek_file: Path, location: str, closed: Wrapped) -> InvalidInput:
    cluster, generations = next(iter(closed.items()))
    keks = sorted(set().union(*generations.values()) - {kek.id})
    more = f" and {len(closed) - 1} more" if len(closed) > 1 else ""
    return InvalidInput(
        f"{kek_file} holds KEK {kek.id}, but cluster {cluster}{more} of {location} was sealed with another KEK than"
        f" {kek.id}: {', '.join(keks)}",
        hint="put that key there, or say where it is; was the KEK rotated?",
    )
