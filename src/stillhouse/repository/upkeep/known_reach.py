"""The reach of roots and manifests, read once: later collections take it from segments of facts.

The segments are a cache. A segment that cannot be opened is ignored, and its objects are read again. At intervals
everything is read again all the same, and compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stillhouse.domain.collection import SKEW
from stillhouse.domain.object_kinds import Type, most_of
from stillhouse.errors import FormatUnknown, ObjectMissing, ObjectTooLarge, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.id_table import ids_of, runs_of
from stillhouse.repository.format.root import Tombstone
from stillhouse.repository.format.sealed import Stored, open_small
from stillhouse.repository.objects import reach_facts, roots
from stillhouse.repository.objects.reach_facts import Facts, ManifestFact, RootFact, RootKey
from stillhouse.repository.upkeep import reach
from stillhouse.storage.store import ObjectStore, StoredObject

WHOLE_EVERY = timedelta(days=30)
"""How often all roots and manifests are read, none taken on trust."""

_MOST_SEGMENTS = 6  # beside those that are full
WORTH = 16
"""Facts that are worth a segment. Fewer are read again until there are so many."""


@dataclass
class _Segment:
    key: str
    bytes: int
    roots: frozenset[RootKey]
    manifests: frozenset[str]

    @property
    def size(self) -> int:
        return len(self.roots) + len(self.manifests)

    @property
    def is_full(self) -> bool:
        """Whether it is so large that joining it with others would only split it again."""
        return self.bytes > most_of(Type.REACH) // 8


@dataclass
class KnownReach:
    """The facts of one collection: from segments, and from the roots and manifests that it has read itself.

    `is_whole` says that nothing is taken from the segments.
    """

    store: ObjectStore
    keys: ClusterKeys
    is_whole: bool
    facts: Facts = field(default_factory=Facts)
    _told: Facts = field(default_factory=Facts)  # by segments; `facts` are those that were used or read
    _segments: list[_Segment] = field(default_factory=list)
    _spoilt: list[str] = field(default_factory=list)  # keys of segments that do not open: they are of no use
    _is_contradicted: bool = False  # two segments disagree
    _fresh_roots: set[RootKey] = field(default_factory=set)
    _fresh_manifests: set[str] = field(default_factory=set)

    @classmethod
    def load(
        cls,
        store: ObjectStore,
        keys: ClusterKeys,
        segments: Iterable[tuple[str, int]],
        now: datetime,
        *,
        whole: bool,
    ) -> "KnownReach":
        """Read the segments, given by key and size. `now` is the store's time."""
        known = cls(store, keys, whole)
        known._told = Facts(known.facts.packs, known.facts.maps)
        for key, size in segments:
            try:
                opened = open_small(store, keys, key, size)
                found = reach_facts.decode(key, opened, known._told)
            except (ObjectMissing, FormatUnknown):
                continue  # removed meanwhile, or of a newer program: its objects are read again
            except RepositoryDamaged:
                known._spoilt.append(key)
                continue
            known._is_contradicted = known._is_contradicted or found.contradicts(known._told)
            known._told.roots |= found.roots
            known._told.manifests |= found.manifests
            known._told.whole = _latest(known._told.whole, found.whole)
            plain = sum(frame.plain for frame in opened.frames)
            known._segments.append(_Segment(key, plain, frozenset(found.roots), frozenset(found.manifests)))
        last = known._told.whole
        is_due = last is None or not last - SKEW <= now < last + WHOLE_EVERY
        known.is_whole = whole or known._is_contradicted or is_due
        known.facts.whole = now if known.is_whole else last
        return known

    def root(self, snapshot: str, listed: StoredObject | None) -> RootFact | None:
        """The root or tombstone at the snapshot's root key; `None` when the key is free. Raises RepositoryDamaged."""
        root_key = None if listed is None else RootKey.of(listed)
        if root_key is not None and (fact := self._recalled(root_key)) is not None:
            return fact
        key = layout.root(str(self.keys.cluster), snapshot)
        try:
            opened = open_small(self.store, self.keys, key, None if listed is None else listed.size)
        except ObjectMissing:
            return None
        held = roots.decode(key, opened)
        if isinstance(held, Tombstone):
            fact = RootFact("", None)
        else:
            fact = RootFact(held.name or snapshot, tuple(reach.manifests(held)))
        # An object that has replaced the listed one is no fact about that one.
        if root_key is not None and opened.size == root_key.size:
            self.facts.roots[root_key] = fact
            self._fresh_roots.add(root_key)
        return fact

    def _recalled(self, key: RootKey) -> RootFact | None:
        if key in self.facts.roots:
            return self.facts.roots[key]
        if self.is_whole or key not in self._told.roots:
            return None
        self.facts.roots[key] = self._told.roots[key]
        return self.facts.roots[key]

    def manifest(self, stored: Stored, listed_size: int | None) -> ManifestFact:
        """The objects that a manifest names. Raises RepositoryDamaged when it cannot be read, or is gone.

        A fact is trusted only while the listing shows the manifest: it must be there to be restored from.
        """
        for facts in [self.facts] if self.is_whole else [self.facts, self._told]:
            fact = facts.manifests.get(stored.id)
            if fact is not None and fact.hash == stored.hash and listed_size == stored.size:
                self.facts.manifests[stored.id] = fact
                return fact
        fact = self._read(stored)
        self.facts.manifests[stored.id] = fact
        self._fresh_manifests.add(stored.id)
        return fact

    def _read(self, stored: Stored) -> ManifestFact:
        found: dict[str, list[str]] = {"manifests": [], "packs": [], "maps": []}
        for key, _ in reach.reached(self.store, self.keys, stored):
            found[layout.folder(key)].append(key.rpartition("/")[2])
        packs = self.facts.packs.ordinals(ids_of(found["packs"]))
        maps = self.facts.maps.ordinals(ids_of(found["maps"]))
        return ManifestFact(stored.hash, runs_of(packs), runs_of(maps))

    def check(self, *, is_draft: bool) -> None:
        """After everything was read anew: raise RepositoryDamaged if a segment says anything else, or two disagree.

        The segments are removed then, so that the next collection reads everything, and trusts only that.
        """
        if not self._is_contradicted and not (self.is_whole and self.facts.contradicts(self._told)):
            return
        for segment in [] if is_draft else self._segments:
            self.store.delete(segment.key)
        raise RepositoryDamaged(
            f"the segments below {layout.reach(str(self.keys.cluster), '')} do not tell what the roots reach",
            hint="a collection removes them, and nothing else; the next one reads all roots and manifests",
        )

    def save(self) -> None:
        """Store the facts that were read, and join segments where there are many or half of one is not needed.

        Segments that do not open are removed.
        """
        for key in self._spoilt:
            self.store.delete(key)
        fresh = len(self._fresh_roots) + len(self._fresh_manifests)
        joined = self._to_join(fresh)
        if fresh < WORTH and not joined:
            return
        root_keys, manifests = set(self._fresh_roots), set(self._fresh_manifests)
        for segment in joined:
            root_keys |= segment.roots & self.facts.roots.keys()
            manifests |= segment.manifests & self.facts.manifests.keys()
        facts = Facts(
            self.facts.packs,
            self.facts.maps,
            {key: fact for key, fact in self.facts.roots.items() if key in root_keys},
            {name: fact for name, fact in self.facts.manifests.items() if name in manifests},
            self.facts.whole,
        )
        try:
            reach_facts.store_segments(self.store, self.keys, facts)
        except ObjectTooLarge:
            return  # a single manifest names more than a segment may hold: everything is read each time
        for segment in joined:
            self.store.delete(segment.key)

    def _to_join(self, fresh: int) -> list[_Segment]:
        """Choose segments to join with the new facts: as small as those, half unneeded, or one too many."""
        if self.is_whole:
            return self._segments
        joined: list[_Segment] = []
        size, left = fresh, sum(not one.is_full for one in self._segments)
        for segment in sorted(self._segments, key=lambda one: one.size):
            needed = len(segment.roots & self.facts.roots.keys()) + len(
                segment.manifests & self.facts.manifests.keys()
            )
            is_small = fresh >= WORTH and segment.size <= 2 * size
            may_join = not segment.is_full and (is_small or left >= _MOST_SEGMENTS)
            if may_join or 2 * needed < segment.size:
                joined.append(segment)
                size, left = size + needed, left - (not segment.is_full)
        return joined


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((time for time in (one, other) if time is not None), default=None)
