"""Rotation of a repository's KEK, and the destruction of a cluster's keys (docs/format.md, section 2)."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stillhouse.domain.object_kinds import KINDS
from stillhouse.errors import InvalidInput, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek, open_keys, unwrap, wrap, wrappings
from stillhouse.repository.upkeep.inventory import clusters_in, take_inventory
from stillhouse.storage.store import ObjectStore

_ROUNDS = 3
_DELETES_AT_ONCE = 16


@dataclass(frozen=True)
class Rotated:
    """How many generations were wrapped anew, and how many objects of the old KEK were removed.

    `foreign` are clusters that neither KEK wraps: they belong to another service and stay as they are.
    """

    clusters: int
    wrapped: int
    removed: int
    foreign: tuple[str, ...]


def rotate(store: ObjectStore, old: Kek, new: Kek, *, keep_old: bool = False) -> Rotated:
    """Wrap every cluster's keys with `new`, then remove those wrapped with `old`, unless `keep_old`.

    If it is killed, the next call finishes it. First every cluster opens with both KEKs, then no cluster opens with
    the old one. So at any moment each cluster has a KEK that opens all of it. Keys sealed with the old KEK meanwhile
    (a first capture, a new generation) are wrapped too. Raises RepositoryDamaged where a generation does not open, and
    removes nothing from then on.
    """
    if old.id == new.id:
        raise InvalidInput("the new KEK is the old one")
    wrapped = removed = 0
    for _ in range(_ROUNDS):
        sealed = {cluster: wrappings(store, cluster) for cluster in clusters_in(store)}
        ours = {
            cluster: found
            for cluster, found in sealed.items()
            if {old.id, new.id} & set[str]().union(*found.values())
        }
        wrapped += sum(_wrap_cluster(store, old, new, cluster, found) for cluster, found in ours.items())
        left = [
            (cluster, generation)
            for cluster, found in ours.items()
            for generation, keks in found.items()
            if old.id in keks
        ]
        if keep_old or not left:
            foreign = tuple(cluster for cluster, found in sealed.items() if found and cluster not in ours)
            return Rotated(len(ours), wrapped, removed, foreign)
        for cluster, generation in left:
            _remove_old(store, old, new, cluster, generation)
        removed += len(left)
    raise InvalidInput(
        "keys are sealed with the old KEK again and again", hint="stop the service that still uses it"
    )


def _wrap_cluster(store: ObjectStore, old: Kek, new: Kek, cluster: str, found: dict[int, set[str]]) -> int:
    wrapped = 0
    for generation, keks in sorted(found.items()):
        if old.id in keks:
            wrapped += wrap(store, new, cluster, generation, unwrap(store, old, cluster, generation))
        elif new.id in keks:
            unwrap(store, new, cluster, generation)
        else:
            raise RepositoryDamaged(
                f"generation {generation} of cluster {cluster} is wrapped by neither KEK, though others are"
            )
    return wrapped


def _remove_old(store: ObjectStore, old: Kek, new: Kek, cluster: str, generation: int) -> None:
    """Remove a generation wrapped by the old KEK.

    First check that the new KEK's object opens and holds the same keys.
    """
    wrap(store, new, cluster, generation, unwrap(store, old, cluster, generation))
    store.delete(layout.keys(cluster, generation, old.id))


def shred(store: ObjectStore, kek: Kek, cluster: str, name: str) -> int:
    """Remove a cluster's keys, so that nothing of it opens again, then its other objects. Returns the number removed.

    `name` must be a name of the cluster in some snapshot, or the cluster's id if no snapshot has one: the caller
    should know which cluster is destroyed. If it is killed, the next call finishes it. Raises InvalidInput.
    """
    there = [stored.key for stored in store.list(layout.all_of(cluster))]
    if not there:
        raise InvalidInput(f"the repository holds nothing of cluster {cluster}")
    known = [key for key in there if layout.folder(key) in KINDS]
    keys = sorted(key for key in known if layout.folder(key) == "keys")
    if keys:  # else an earlier call removed the keys, and only the rest is left
        _check_name(store, kek, cluster, name)
    # The oldest generation goes first. If this is called again, the roots that tell the name mostly need the newest.
    for key in keys:
        store.delete(key)
    _delete_all(store, (key for key in known if key not in set(keys)))
    return len(known)


def _check_name(store: ObjectStore, kek: Kek, cluster: str, name: str) -> None:
    open_keys(store, kek, cluster)
    found = take_inventory(store, kek, [cluster]).snapshots
    names = {one.cluster_name for one in found} or {cluster}
    if name not in names:
        known = ", ".join(sorted(names))
        raise InvalidInput(f"cluster {cluster} is not named {name}", hint=f"it is named {known}")


def _delete_all(store: ObjectStore, keys: Iterable[str]) -> None:
    with ThreadPoolExecutor(_DELETES_AT_ONCE) as pool:
        list(pool.map(store.delete, keys))
