"""What lies in one cluster's part of a repository: listed, keys opened, and all but manifests, maps and packs."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from blake3 import blake3

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository import findings, layout, marks
from stillhouse.repository.check_faults import ALTERED, MISSING, SIZE, Fault, Faults
from stillhouse.repository.container import FOLDERS, Container, Type, claims, open_bytes
from stillhouse.repository.fields import Fields, parse
from stillhouse.repository.findings import Findings
from stillhouse.repository.keys import KEY_BYTES, ClusterKeys, Kek, cluster_keys, open_object
from stillhouse.repository.sealed import Stored
from stillhouse.storage.store import ObjectStore, StoredObject

Item = TypeVar("Item")
Result = TypeVar("Result")

_KEYS = re.compile(r"(?P<generation>[0-9]{8})/(?P<kek>[0-9a-f]{16})")
_READ_LATER = frozenset({"packs", "maps", "manifests"})


@dataclass
class Place:
    """One cluster's part of a repository, with what was found wrong in it so far. `keys`: None when none opens."""

    store: ObjectStore
    kek: Kek
    cluster: str
    workers: int
    listed: dict[str, StoredObject] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    keys: ClusterKeys | None = None
    known: Findings = field(default_factory=lambda: Findings(""))
    """The damage that was known before anything was read."""
    roots: dict[str, Fields] = field(default_factory=dict)
    tombstones: set[str] = field(default_factory=set)
    trash: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    """Snapshots that work under way has pins for."""
    behind: dict[str, set[str]] = field(default_factory=dict)
    """By keys that are lost: the containers that cannot be opened for it."""
    other_keks: int = 0
    unknown: int = 0
    """Objects under prefixes that this program does not know."""

    def key_object(self, generation: int) -> str:
        return layout.keys(self.cluster, generation, self.kek.id)

    def charge(self, fault: Fault) -> None:
        """Note what is wrong; where only keys are lacking, with these."""
        if fault.needs is None:
            self.faults.add(fault)
            return
        lost = self.key_object(fault.needs)
        self.behind.setdefault(lost, set()).add(fault.key)
        if lost not in self.faults.by_key:
            self.faults.add(Fault(lost, MISSING, "is gone, and containers are sealed under it"))

    def size(self, key: str) -> int | None:
        """Listings may lag, and are older than what was named since: what they lack is asked for."""
        listed = self.listed.get(key)
        return self.store.size(key) if listed is None else listed.size

    def each(self, act: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`act` on several items at once; results in order. No more of them wait than there are workers, twice."""
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
                pool.shutdown(cancel_futures=True)  # whoever stops listening stops what has not begun

    def opened(self, key: str, stored: Stored | None = None) -> Container | Fault:
        """The whole container at `key`, held against what its parent says of it, if it has one."""
        assert self.keys is not None
        try:
            found = self.store.get(key)
        except ObjectMissing:
            return Fault(key, MISSING, "is gone")
        if stored and len(found) != stored.size:
            return Fault(key, SIZE, f"has {len(found)} bytes, {stored.size} were stored")
        if stored and blake3(found).hexdigest() != stored.hash:
            return Fault(key, ALTERED, "is not what was stored")
        try:
            return open_bytes(key, self.keys, found)
        except RepositoryDamaged as error:
            return Fault(key, ALTERED, _without(key, error), needs=self.lacking(found))

    def lacking(self, stored: bytes) -> int | None:
        """The generation of keys without which this, whole by all that can be seen, cannot be opened."""
        assert self.keys is not None
        found = claims(stored)
        if len(found) == 2 and found[0] == found[1] and str(found[0].cluster) == self.cluster:
            return None if found[0].generation in self.keys.generations else found[0].generation
        return None


def survey(place: Place) -> None:
    """List everything; open keys, roots, tombstones and marks. Manifests, maps and packs are left to `check`."""
    place.listed = {found.key: found for found in place.store.list(layout.all_of(place.cluster))}
    folders: dict[str, list[str]] = {}
    for key in sorted(place.listed):
        folders.setdefault(key.split("/")[2], []).append(key)
    _open_keys(place, folders.pop("keys", []))
    place.unknown = sum(len(keys) for folder, keys in folders.items() if folder not in FOLDERS)
    if place.keys is None:
        return
    place.known = findings.read(place.store, place.keys)
    small = [key for folder in FOLDERS.keys() - _READ_LATER for key in sorted(folders.get(folder, []))]
    for key, found in zip(small, place.each(place.opened, small), strict=True):
        if isinstance(found, Fault):
            _note_unreadable(place, found)
        else:
            _take(place, key, found)
    for snapshot in place.trash:
        # Only what was published is ever marked, and a purge leaves a tombstone.
        if place.size(layout.root(place.cluster, snapshot)) is None:
            place.charge(
                Fault(layout.root(place.cluster, snapshot), MISSING, "is gone, though it is in the trash")
            )


def _note_unreadable(place: Place, fault: Fault) -> None:
    folder, name = fault.key.split("/")[2:4]
    if fault.kind == MISSING:
        return  # removed since the listing: marks and pins come and go, and roots are never removed
    if folder == "roots" and _was_tombstone(place, fault, name):
        place.tombstones.add(name)
    place.charge(fault)


def _was_tombstone(place: Place, fault: Fault, snapshot: str) -> bool:
    """Whether a header is left that proves it, or two agree and only the keys are lacking: then it costs nothing."""
    assert place.keys is not None
    return any(
        claim.type == Type.TOMBSTONE
        and str(claim.id) == snapshot
        and (fault.needs is not None or claim.holds(place.keys))
        for claim in claims(place.store.get(fault.key))
    )


def _take(place: Place, key: str, opened: Container) -> None:
    folder, name = key.split("/")[2:4]
    if opened.type is Type.TOMBSTONE:
        place.tombstones.add(name)
    try:
        if opened.type is Type.MARK:
            deque(marks.lines_of(key, opened), maxlen=0)
            return
        if opened.type is Type.FINDINGS:
            findings.decode(key, opened)
            return
        fields = parse(key, b"".join(opened.plain()))
        if folder == "roots" and opened.type is Type.ROOT:
            _demand_root(key, name, place.cluster, fields)
            place.roots[name] = fields
        elif folder == "trash":
            place.trash.add(name)
        elif folder == "pins":
            place.pinned.add(str(fields.get("snapshot", "")))
    except RepositoryDamaged as error:
        place.charge(Fault(key, ALTERED, _without(key, error)))


def _demand_root(key: str, snapshot: str, cluster: str, root: Fields) -> None:
    """What reading a snapshot needs of its root."""
    try:
        nodes = [(node["name"], named_manifest(node)) for node in root["nodes"]]
        sound = root["snapshot"] == snapshot and all(
            isinstance(name, str)
            and re.fullmatch("[0-9a-f]{32}", named.id)
            and isinstance(named.size, int)
            and isinstance(named.hash, str)
            for name, named in nodes
        )
        sound = sound and root.get("cluster", {}).get("id", cluster) == cluster
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise RepositoryDamaged(f"{key} is not a root of this snapshot")


def named_manifest(node: Fields) -> Stored:
    """The manifest that one of a root's nodes names."""
    return Stored(node["manifest"], node["size"], node["hash"])


def _open_keys(place: Place, found: list[str]) -> None:
    """Open every generation that this KEK wraps. Damaged ones are faults; the others still open what they sealed."""
    secrets: dict[int, bytes] = {}
    for key in found:
        match = _KEYS.fullmatch(key.removeprefix(layout.keys_of(place.cluster)))
        if match is None or match["kek"] != place.kek.id:
            place.other_keks += 1
            continue
        generation = int(match["generation"])
        try:
            secrets[generation] = open_object(place.kek, place.cluster, key, generation, place.store.get(key))
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
            found_claims = claims(place.store.get(key))
            generation = found_claims[0].generation if found_claims else 1
            place.behind.setdefault(place.key_object(generation), set()).add(key)
    if not place.faults.by_key and place.behind:
        lacking = f"are wrapped by another KEK than {place.kek.id}" if place.other_keks else "are gone"
        place.charge(Fault(place.key_object(1), MISSING, f"the cluster's keys {lacking}"))


def _without(key: str, error: RepositoryDamaged | ObjectMissing) -> str:
    """The error's message less the key, which stands beside it."""
    return error.message.removeprefix(f"{key} ")
