"""Another KEK for a whole repository, and the end of a cluster's keys (docs/format.md, section 2)."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stillhouse.errors import InvalidInput, RepositoryDamaged
from stillhouse.repository import layout
from stillhouse.repository.inventory import clusters_in, take_inventory
from stillhouse.repository.keys import Kek, open_keys, unwrap, wrap, wrappings
from stillhouse.storage.store import ObjectStore

_ROUNDS = 3
_DELETES_AT_ONCE = 16


@dataclass(frozen=True)
class Rotated:
    """How many generations were wrapped anew, how many objects of the old KEK were removed; `foreign` are clusters
    that neither KEK wraps: they are another service's, and stay as they are."""

    clusters: int
    wrapped: int
    removed: int
    foreign: tuple[str, ...]


def rotate(store: ObjectStore, old: Kek, new: Kek, *, keep_old: bool = False) -> Rotated:
    """Have every cluster's keys wrapped by `new`, and then, unless `keep_old`, by `old` no more.

    Killed anywhere and called again, it ends the same. First every cluster opens with both, then none with the old
    one: so at any moment there is, for each cluster, a KEK that opens all of it. What is sealed with the old KEK
    meanwhile (a first capture, a new generation) is wrapped too. Raises RepositoryDamaged, with nothing removed from
    then on, where a generation does not open.
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
    """Only after another look: the new KEK's object is there, opens, and holds the same keys."""
    wrap(store, new, cluster, generation, unwrap(store, old, cluster, generation))
    store.delete(layout.keys(cluster, generation, old.id))


def shred(store: ObjectStore, kek: Kek, cluster: str, name: str) -> int:
    """Remove a cluster's keys, so that nothing of it opens again, then what is noise by now. Objects removed.

    `name` must be the name that some snapshot knows the cluster by, or the cluster's id where none does: whoever
    shreds should know what. Killed anywhere and called again, it ends the same. Raises InvalidInput.
    """
    there = [stored.key for stored in store.list(layout.all_of(cluster))]
    if not there:
        raise InvalidInput(f"the repository holds nothing of cluster {cluster}")
    known = [key for key in there if layout.folder(key) in layout.FOLDERS]
    keys = sorted(key for key in known if layout.folder(key) == "keys")
    if keys:  # else it was shredded before, and only the rest is left to be removed
        _check_name(store, kek, cluster, name)
    # The oldest generation first: the roots that tell the name are mostly of the newest, should this be called again.
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
