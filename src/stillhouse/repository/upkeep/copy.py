"""Copy snapshots into a second repository: only missing objects, each proved on the way, with the root last.

The procedure is section 11 of docs/format.md.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass

from blake3 import blake3

from stillhouse.clock import Clock
from stillhouse.domain.object_kinds import Type
from stillhouse.errors import (
    InvalidInput,
    ObjectMissing,
    RepositoryDamaged,
    StillhouseError,
    StoreUnavailable,
    Unavailable,
)
from stillhouse.repository.check.recheck import note_met
from stillhouse.repository.format import layout, manifest, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, open_keys, unwrap, wrap, wrappings
from stillhouse.repository.format.container import open_bytes
from stillhouse.repository.format.fields import parse
from stillhouse.repository.format.lines import MapLine, PackLine
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored, fetch, read_small
from stillhouse.repository.objects import findings, pins, presence, roots
from stillhouse.repository.upkeep.inventory import Found
from stillhouse.repository.upkeep.reach import manifests
from stillhouse.storage.store import ObjectStore

NewBar = Callable[[str, int], Callable[[int], None]]
"""Called with a snapshot and the bytes to move. It returns a function that is called with the bytes moved so far."""


@dataclass(frozen=True)
class End:
    """The source or the target of a copy, with its key."""

    store: ObjectStore
    kek: Kek
    id: str


@dataclass(frozen=True)
class Outcome:
    """The outcome for one snapshot.

    `state`: `copied`, `there` (it was there before), `mended` (it was there, and its known damage was mended),
    `buried` (the target has a tombstone for it), `failed`.
    """

    snapshot: str
    name: str
    state: str
    objects: int = 0
    bytes: int = 0
    reason: str = ""


@dataclass
class _Moved:
    objects: int = 0
    bytes: int = 0


Objects = dict[str, Stored]
"""The objects that a root reaches, by key."""


def copy_snapshots(
    source: End,
    target: End,
    snapshots: Sequence[Found],
    *,
    workers: int,
    clock: Clock,
    new_bar: NewBar,
) -> Iterator[Outcome]:
    """Copy snapshots one after another. A failure is the outcome of its snapshot; the next snapshot follows.

    If it was killed, the next call moves the objects still missing. Raises InvalidInput when source and target are one
    repository.
    """
    if source.id == target.id:
        raise InvalidInput("the source and the target are the same repository")
    for found in snapshots:
        moved = _Moved()
        try:
            state = _Copy(source, target, found, workers, clock, new_bar, moved).run()
            yield Outcome(found.id, found.name, state, moved.objects, moved.bytes)
        except StillhouseError as error:
            _note(source, found, error, clock)
            yield Outcome(found.id, found.name, "failed", moved.objects, moved.bytes, str(error))


def _note(source: End, found: Found, met: StillhouseError, clock: Clock) -> None:
    """Record damage of the source in the source, if the source can be written to."""
    if isinstance(met, RepositoryDamaged | ObjectMissing) and met.key:
        with suppress(Unavailable):
            keys = open_keys(source.store, source.kek, found.cluster)
            note_met(source.store, keys, manifests(found.root), met, clock.now())


class _Copy:
    """The copy of one snapshot."""

    def __init__(
        self,
        source: End,
        target: End,
        found: Found,
        workers: int,
        clock: Clock,
        new_bar: NewBar,
        moved: _Moved,
    ) -> None:
        self._source, self._target, self._found = source, target, found
        self._workers, self._clock, self._new_bar, self._moved = workers, clock, new_bar, moved
        self._damaged: frozenset[str] = frozenset()
        self._cluster, self._key = found.cluster, layout.root(found.cluster, found.id)

    def run(self) -> str:
        keys = open_keys(self._source.store, self._source.kek, self._cluster)
        root = self._read_root(keys)
        state = self._state_there(keys, root)
        self._damaged = self._known_there(keys) if state in (None, "there") else frozenset()
        if state is not None and not self._damaged:
            return state
        copy_keys(self._source, self._target, self._cluster)
        bases = {node.name: node.stored for node in self._found.root.nodes}
        # In the source, the objects being read must stay. In the target, new objects and objects already there must
        # stay while the pin stands.
        with (
            _Pin(self._source.store, keys, self._found.id, self._target.id, bases, self._clock) as here,
            _Pin(self._target.store, keys, self._found.id, self._source.id, {}, self._clock) as there,
        ):
            if self._read_root(keys) != root:
                raise RepositoryDamaged(f"{self._key} changed while it was copied")
            open_keys(self._target.store, self._target.kek, self._cluster)

            def beat() -> None:
                here.beat()
                there.beat()

            self._move_all(keys, bases.values(), beat)
            if state is not None:
                return "mended" if self._moved.objects else state
            # The root comes last and is created only once. Another writer that has closed the key meanwhile has
            # decided.
            if self._target.store.create(self._key, [root]):
                return "copied"
        if (state := self._state_there(keys, root)) is None:
            raise StoreUnavailable(f"{self._key} is said to exist in the target, but is not there")
        return state

    def _read_root(self, keys: ClusterKeys) -> bytes:
        """The stored bytes of the root, proved to be the root that the inventory found."""
        stored = read_small(self._source.store, self._key)
        opened = open_bytes(self._key, keys, stored)
        fields = parse(self._key, b"".join(opened.plain()))
        if opened.type is not Type.ROOT or Root.from_json(self._key, fields) != self._found.root:
            raise RepositoryDamaged(f"{self._key} has changed since it was first read")
        return stored

    def _state_there(self, keys: ClusterKeys, root: bytes) -> str | None:
        """The state of the snapshot if the target has already closed its root's key.

        A tombstone stays: it was given up there.
        """
        try:
            stored = read_small(self._target.store, self._key)
        except ObjectMissing:
            return None
        if stored == root:
            return "there"
        if open_bytes(self._key, keys, stored).type is Type.TOMBSTONE:
            return "buried"
        raise RepositoryDamaged(f"{self._key} is another root in the target")

    def _known_there(self, keys: ClusterKeys) -> frozenset[str]:
        """The known damage of the target, which has the same keys as the source."""
        return findings.read(self._target.store, keys).keys

    def _move_all(self, keys: ClusterKeys, named: Iterable[Stored], beat: Callable[[], None]) -> None:
        """Move packs, then maps, then manifests. So nothing in the target names an object that is not durable there."""
        groups = self._reached(keys, named)
        # An object of the right id and size is accepted as the right object.
        present = presence.find(self._target.store, (key for group in groups for key in group))
        lacking = [
            {
                key: stored
                for key, stored in group.items()
                if key not in present or present[key].size != stored.size or key in self._damaged
            }
            for group in groups
        ]
        total = sum(stored.size for group in lacking for stored in group.values())
        show = self._new_bar(self._found.name, total)
        with ThreadPoolExecutor(self._workers, "copy") as pool:
            for group in lacking:
                self._move_group(pool, keys, group, show, beat)
        mended = {key for group in lacking for key in group if key in self._damaged}
        known = findings.read(self._target.store, keys)
        findings.forget(self._target.store, keys, known, mended.__contains__, (), self._clock.now())
        reached = [(key, stored.size) for group in groups for key, stored in group.items()]
        roots.check_present(self._target.store, reached)
        roots.check_sound(self._target.store, keys, reached)

    def _reached(self, keys: ClusterKeys, manifests: Iterable[Stored]) -> tuple[Objects, Objects, Objects]:
        packs: Objects = {}
        mapped: Objects = {}
        named: Objects = {}
        for one in manifests:
            named[layout.manifest(self._cluster, one.id)] = one
            for line in manifest.read(self._source.store, keys, one):
                if line["t"] == "pack":
                    packs[layout.pack(self._cluster, line["id"])] = _stored(line)
                elif line["t"] == "map":
                    mapped[layout.map_(self._cluster, line["id"])] = _stored(line)
        return packs, mapped, named

    def _move_group(
        self,
        pool: ThreadPoolExecutor,
        keys: ClusterKeys,
        group: Objects,
        show: Callable[[int], None],
        beat: Callable[[], None],
    ) -> None:
        """Move objects at once. All are durable on return. Raises the first failure."""
        left = {pool.submit(self._move, keys, key, stored) for key, stored in group.items()}
        try:
            while left:
                done, left = wait(left, pins.BEAT_SECONDS, FIRST_COMPLETED)
                for future in done:
                    self._moved.bytes += future.result()
                    self._moved.objects += 1
                    show(self._moved.bytes)
                beat()
        finally:
            for future in left:
                future.cancel()

    def _move(self, keys: ClusterKeys, key: str, stored: Stored) -> int:
        body = fetch(self._source.store, key, stored)
        if layout.folder(key) == "maps":  # a root must not name a map that cannot be read
            maps.decode(key, b"".join(open_bytes(key, keys, body).plain()))
        if key in self._damaged:  # objects never change: these are the same bytes as before
            self._target.store.put(key, [body])
            fetch(self._target.store, key, stored)
            return len(body)
        if not self._target.store.create(key, [body]):
            raise RepositoryDamaged(f"{key} is another object in the target")
        return len(body)


def copy_keys(source: End, target: End, cluster: str) -> None:
    """Wrap every generation of the cluster's keys with the KEK of the target.

    The keys stay the same, so containers are copied byte for byte. Raises InvalidInput where another KEK already has
    the cluster in the target.
    """
    there = wrappings(target.store, cluster)
    if there and not any(target.kek.id in keks for keks in there.values()):
        raise InvalidInput(
            f"cluster {cluster} was sealed in the target with another KEK than {target.kek.id}"
        )
    for generation in sorted(wrappings(source.store, cluster)):
        wrap(
            target.store,
            target.kek,
            cluster,
            generation,
            unwrap(source.store, source.kek, cluster, generation),
        )


class _Pin:
    """Protects a copy from collections in one repository while its `with` block runs.

    A copy that was killed and is resumed has the same pin id, so no pin is left without an owner.
    """

    def __init__(
        self,
        store: ObjectStore,
        keys: ClusterKeys,
        snapshot: str,
        other_end: str,
        bases: Mapping[str, Stored],
        clock: Clock,
    ) -> None:
        self._store, self._keys, self._clock = store, keys, clock
        pin_id = blake3(f"stillhouse pin copy {snapshot} {other_end}".encode()).hexdigest(16)
        based = tuple(pins.PinnedBase(node, base) for node, base in bases.items())
        self._pin = pins.Pin(pin_id, pins.COPY, snapshot, 0, based, clock.now())
        self._last = 0.0

    def __enter__(self) -> "_Pin":
        self._put()
        return self

    def __exit__(self, *_: object) -> None:
        pins.remove(self._store, str(self._keys.cluster), [self._pin.id])

    def beat(self) -> None:
        if self._clock.monotonic() - self._last >= pins.BEAT_SECONDS:
            self._put()

    def _put(self) -> None:
        self._last = self._clock.monotonic()
        pins.put(self._store, self._keys, self._pin, self._clock.now())


def _stored(line: PackLine | MapLine) -> Stored:
    return Stored(line["id"], line["size"], line["hash"])
