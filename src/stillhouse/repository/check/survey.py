"""The survey that begins a check: list a cluster's objects, open its keys, and read roots, tombstones and marks."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from blake3 import blake3

from stillhouse.domain.object_kinds import CONTENT, KINDS, Type
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import KEY_BYTES, ClusterKeys, Kek, cluster_keys, open_object
from stillhouse.repository.format.container import (
    HEADER_BYTES,
    TAIL_BYTES,
    Claim,
    Container,
    claims,
    open_bytes,
)
from stillhouse.repository.format.fields import Fields, parse
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored, read_small
from stillhouse.repository.objects import collection_marks, findings, reach_facts
from stillhouse.repository.objects.faults import ALTERED, MISSING, SIZE, Fault, Faults
from stillhouse.repository.objects.findings import Findings
from stillhouse.storage.store import ObjectStore, StoredObject

Item = TypeVar("Item")
Result = TypeVar("Result")

_KEYS = re.compile(r"(?P<generation>[0-9]{8})/(?P<kek>[0-9a-f]{16})")


@dataclass
class Place:
    """One cluster's part of a repository, with the faults found in it so far. `keys` is None when no key opens."""

    store: ObjectStore
    kek: Kek
    cluster: str
    workers: int
    listed: dict[str, StoredObject] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    keys: ClusterKeys | None = None
    known: Findings = field(default_factory=lambda: Findings(""))
    """The damage that was known before the check read anything."""
    roots: dict[str, Root] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    trash: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    """Snapshots that work in progress has pins for."""
    behind: dict[str, set[str]] = field(default_factory=dict)
    """For each lost object of keys, the containers that cannot be opened without it."""
    other_keks: int = 0
    unknown: int = 0
    """The number of objects under prefixes that this program does not know."""

    def key_object(self, generation: int) -> str:
        return layout.keys(self.cluster, generation, self.kek.id)

    def charge(self, fault: Fault) -> None:
        """Record a fault. If the object only lacks its keys, the fault is recorded for the keys."""
        if fault.needs is None:
            self.faults.add(fault)
            return
        lost = self.key_object(fault.needs)
        self.behind.setdefault(lost, set()).add(fault.key)
        if lost not in self.faults.by_key:
            self.faults.add(Fault(lost, MISSING, "is gone, and containers are sealed under it"))

    def size(self, key: str) -> int | None:
        """The size of an object. The store is asked if the listing lacks it: listings lag, and objects may be newer."""
        listed = self.listed.get(key)
        return self.store.size(key) if listed is None else listed.size

    def each(self, act: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Run `act` on several items at once and yield the results in order.

        At most twice as many wait as workers run.
        """
        if self.workers == 1:
            yield from map(act, items)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(act, item))
                    if len(waiting) > 2 * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(
                    cancel_futures=True
                )  # a consumer that stops early cancels the work that has not begun

    def opened(self, key: str, stored: Stored | None = None) -> Container | Fault:
        """The container at `key`, read whole. If its parent describes it, it is compared with that description."""
        assert self.keys is not None
        if stored and (there := self._size_now(key, stored.size)) != stored.size:
            if there is None:
                return Fault(key, MISSING, "is gone")
            return Fault(key, SIZE, f"has {there} bytes, {stored.size} were stored")
        try:
            found = self.store.get(key) if stored else read_small(self.store, key)
        except ObjectMissing:
            return Fault(key, MISSING, "is gone")
        except RepositoryDamaged as error:  # it is too large
            return Fault(key, SIZE, _without(key, error))
        if stored and len(found) != stored.size:
            return Fault(key, SIZE, f"has {len(found)} bytes, {stored.size} were stored")
        if stored and blake3(found).hexdigest() != stored.hash:
            return Fault(key, ALTERED, "is not what was stored")
        try:
            return open_bytes(key, self.keys, found)
        except RepositoryDamaged as error:
            return Fault(key, ALTERED, _without(key, error), needs=self.lacking(found))

    def _size_now(self, key: str, wanted: int) -> int | None:
        """The size of an object that should have the `wanted` one. A listing that shows another may be late."""
        listed = self.listed.get(key)
        return wanted if listed and listed.size == wanted else self.store.size(key)

    def lacking(self, stored: bytes) -> int | None:
        """The missing generation of keys, for an object that seems intact but cannot be opened without them."""
        assert self.keys is not None
        found = claims(stored)
        if len(found) == 2 and found[0] == found[1] and str(found[0].cluster) == self.cluster:
            return None if found[0].generation in self.keys.generations else found[0].generation
        return None


def survey(place: Place) -> None:
    """List all objects; open keys, roots, tombstones and marks. `check` reads manifests, maps and packs."""
    place.listed = {found.key: found for found in place.store.list(layout.all_of(place.cluster))}
    folders: dict[str, list[str]] = {}
    for key in sorted(place.listed):
        folders.setdefault(key.split("/")[2], []).append(key)
    _open_keys(place, folders.pop("keys", []))
    place.unknown = sum(len(keys) for folder, keys in folders.items() if folder not in KINDS)
    if place.keys is None:
        return
    place.known = findings.read(place.store, place.keys)
    small = [key for folder in KINDS.keys() - CONTENT for key in sorted(folders.get(folder, []))]
    for key, found in zip(small, place.each(place.opened, small), strict=True):
        if isinstance(found, Fault):
            _note_unreadable(place, found)
        else:
            _take(place, key, found)
    for snapshot in place.trash:
        # Only published snapshots are marked, and a purge leaves a tombstone.
        if place.size(layout.root(place.cluster, snapshot)) is None:
            place.charge(
                Fault(layout.root(place.cluster, snapshot), MISSING, "is gone, though it is in the trash")
            )


def _note_unreadable(place: Place, fault: Fault) -> None:
    folder, name = fault.key.split("/")[2:4]
    if fault.kind == MISSING:
        return  # removed since the listing: marks and pins come and go, but roots are never removed
    if folder == "roots" and _was_tombstone(place, fault, name):
        place.tombstones.add(name)
    place.charge(fault)


def claims_at(store: ObjectStore, key: str) -> list[Claim]:
    """The claims of an object's first and last header, read without the rest of it."""
    size = store.size(key)
    if size is None:
        raise ObjectMissing(f"no object {key} in the store", key=key)
    if not size:
        return []
    ends = {(0, min(size, HEADER_BYTES)), (max(0, size - TAIL_BYTES), min(size, TAIL_BYTES))}
    return claims(b"".join(store.get_range(key, at, length) for at, length in sorted(ends)))


def _was_tombstone(place: Place, fault: Fault, snapshot: str) -> bool:
    """Whether a damaged object was a tombstone, so that nothing is lost with it.

    One header that the keys prove is enough. If only the keys are missing, the headers must agree.
    """
    assert place.keys is not None
    return any(
        claim.type == Type.TOMBSTONE
        and str(claim.id) == snapshot
        and (fault.needs is not None or claim.holds(place.keys))
        for claim in claims_at(place.store, fault.key)
    )


def _take(place: Place, key: str, opened: Container) -> None:
    folder, name = key.split("/")[2:4]
    if opened.type is Type.TOMBSTONE:
        place.tombstones.add(name)
    try:
        if opened.type is Type.MARK:
            deque(collection_marks.lines_of(key, opened), maxlen=0)
            return
        if opened.type is Type.FINDINGS:
            findings.decode(key, opened)
            return
        if opened.type is Type.REACH:
            reach_facts.decode(key, opened, reach_facts.Facts())
            return
        fields = parse(key, b"".join(opened.plain()))
        if folder == "roots" and opened.type is Type.ROOT:
            place.roots[name] = _read_root(key, name, place.cluster, fields)
        elif folder == "trash":
            place.trash.add(name)
        elif folder == "pins":
            place.pinned.add(str(fields.get("snapshot", "")))
    except RepositoryDamaged as error:
        place.charge(Fault(key, ALTERED, _without(key, error)))


def _read_root(key: str, snapshot: str, cluster: str, fields: Fields) -> Root:
    """The root, if it has the fields that reading this snapshot needs."""
    try:
        root = Root.from_json(key, fields)
        are_named = all(re.fullmatch("[0-9a-f]{32}", node.manifest) for node in root.nodes)
        # An older root may lack its cluster.
        if are_named and root.snapshot == snapshot and root.cluster.id in ("", cluster):
            return root
    except RepositoryDamaged:
        pass
    raise RepositoryDamaged(f"{key} is not a root of this snapshot")


def _open_keys(place: Place, found: list[str]) -> None:
    """Open every generation that this KEK wraps. Damaged ones become faults; the others still open their containers."""
    secrets: dict[int, bytes] = {}
    for key in found:
        match = _KEYS.fullmatch(key.removeprefix(layout.keys_of(place.cluster)))
        if match is None or match["kek"] != place.kek.id:
            place.other_keks += 1
            continue
        generation = int(match["generation"])
        try:
            secrets[generation] = open_object(
                place.kek, place.cluster, key, generation, read_small(place.store, key)
            )
        except (RepositoryDamaged, ObjectMissing) as error:
            place.charge(Fault(key, ALTERED, _without(key, error)))
    if len({secret[KEY_BYTES:] for secret in secrets.values()}) > 1:
        oldest = min(secrets)
        for generation in [one for one in secrets if secrets[one][KEY_BYTES:] != secrets[oldest][KEY_BYTES:]]:
            place.charge(
                Fault(place.key_object(generation), ALTERED, "has another fingerprint key than the oldest")
            )
            del secrets[generation]
    if secrets:
        place.keys = cluster_keys(place.cluster, secrets)
        return
    for key in place.listed:
        if key.startswith(layout.roots_of(place.cluster)):
            found_claims = claims_at(place.store, key)
            generation = found_claims[0].generation if found_claims else 1
            place.behind.setdefault(place.key_object(generation), set()).add(key)
    if not place.faults.by_key and place.behind:
        lacking = f"are wrapped by another KEK than {place.kek.id}" if place.other_keks else "are gone"
        place.charge(Fault(place.key_object(1), MISSING, f"the cluster's keys {lacking}"))


def _without(key: str, error: RepositoryDamaged | ObjectMissing) -> str:
    """The error's message without the key, which is shown beside it."""
    return error.message.removeprefix(f"{key} ")
