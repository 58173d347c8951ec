"""Garbage collection of a cluster's objects: look, purge, mark, delete (docs/format.md, section 12).

This module only reads and writes; `collection` decides. A collection may be killed between any two calls to the
store: the next one starts again with a look.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain, groupby, islice

from stillhouse.clock import Clock
from stillhouse.domain import collection
from stillhouse.domain.collection import Collected, Item, Listed, Look, Rules, SeenPin, Verdict
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import collection_marks, findings, pins, roots
from stillhouse.repository.upkeep.known_reach import KnownReach
from stillhouse.repository.upkeep.listing import Listing
from stillhouse.repository.upkeep.reached import Reached
from stillhouse.storage.store import ObjectStore, StoredObject
from stillhouse.storage.store_clock import store_time

# Objects deleted between two looks at roots and pins.
_SLICE = 500
_AT_ONCE = 8

GoOn = Callable[[int, int], None]
"""Called with work done and work in total. It raises to stop the collection, which is safe at any point."""


Plan = Callable[[], Iterator[Item]]
"""Makes the plan, each time anew."""


@dataclass(frozen=True)
class Found:
    """A look, the manifests of the roots and pins in it, and the keys of these roots and pins.

    `known` are the facts that it goes by, and `sizes` the listed sizes of manifests.
    """

    look: Look
    manifests: dict[str, Sequence[Stored]]
    bases: dict[str, Sequence[Stored]]
    seen: frozenset[str]
    known: KnownReach
    sizes: dict[str, int]


@dataclass(frozen=True)
class Collector:
    """Collects the garbage of one cluster by the given rules.

    `known` are the snapshots that a catalog calls usable. Their roots count even if a listing omits them. With `whole`
    nothing is taken from the facts that earlier collections have stored.
    """

    store: ObjectStore
    keys: ClusterKeys
    clock: Clock
    rules: Rules
    known: frozenset[str] = frozenset()
    go_on: GoOn = lambda done, total: None
    whole: bool = False

    @property
    def cluster(self) -> str:
        return str(self.keys.cluster)

    def draft(self) -> tuple[Look, Iterator[Item]]:
        """The plan that `collect` would carry out now. Nothing is changed.

        Raises RepositoryDamaged, naming the object, for any root, pin, manifest or mark that is not fully understood.
        """
        found = self._look()
        reached = self._reached(found, self.rules)
        found.known.check(is_draft=True)
        return found.look, collection.plan(found.look, self.rules, reached)

    def collect(self) -> Collected:
        """Carry the plan out. Raises as `draft` does, before anything is purged or removed."""
        done = Collected()
        found = self._look()
        reached = self._reached(found, self.rules)
        found.known.check(is_draft=False)
        closed, done.purged = self._close(found), self._purge(found)
        if closed or done.purged:
            found = self._look(found.known)
        # A snapshot that still has a root keeps its objects: it was brought back, or its root was listed late.
        rules = replace(self.rules, released=frozenset())
        reached = self._reached(found, rules, reached)
        if not rules.given_up:  # else all of it is about to go
            found.known.save()
        plan = partial(collection.plan, found.look, rules, reached)
        total = self._mark(found, plan, done)
        self._remove(found, plan, done, total)
        if not done.stopped_by and not done.keys_gone:
            self._forget(found, plan, reached)
        return done

    # -- looking -----------------------------------------------------------------------------------------------

    def _look(self, known: KnownReach | None = None) -> Found:
        """Look at the repository. The order matters: a capture creates its root before it removes its pin.

        `known` are the facts of an earlier look. Roots that are listed as they were then are not read again.
        """
        now = store_time(self.store, self.clock)
        folder = layout.all_of(self.cluster)
        objects = Listing(folder)
        listed: dict[str, StoredObject] = {}
        for one in self.store.list(folder):
            objects.add(one)
            _note_root(listed, folder, one)
        seen_pins, bases = self._pins()
        published: dict[str, str] = {}
        closed: set[str] = set()
        manifests: dict[str, Sequence[Stored]] = {}
        for one in self.store.list(layout.roots_of(self.cluster)):
            _note_root(listed, folder, one)
        if known is None:
            segments = [(folder + one.key, one.size) for one in objects.of("reach")]
            known = KnownReach.load(self.store, self.keys, segments, now, whole=self.whole)
        for snapshot in sorted(listed.keys() | self.known):
            held = known.root(snapshot, listed.get(snapshot))
            if held is None:
                self._demand_unknown(snapshot)
            elif held.manifests is None:
                closed.add(snapshot)
            else:
                published[snapshot] = held.name
                manifests[snapshot] = held.manifests
        look = Look(now, objects, published, closed, seen_pins, self._since(objects.of("marks")))
        seen = frozenset(
            [*(f"roots/{one}" for one in listed.keys() | self.known), *(pin.key for pin in seen_pins)]
        )
        sizes = {one.key.removeprefix("manifests/"): one.size for one in objects.of("manifests")}
        return Found(look, manifests, bases, seen, known, sizes)

    def _demand_unknown(self, snapshot: str) -> None:
        if snapshot in self.known:
            raise RepositoryDamaged(
                f"{layout.root(self.cluster, snapshot)} is gone, though the catalog calls its snapshot usable"
            )

    def _pins(self) -> tuple[list[SeenPin], dict[str, Sequence[Stored]]]:
        seen: list[SeenPin] = []
        bases: dict[str, Sequence[Stored]] = {}
        for one in self.store.list(layout.pins_of(self.cluster)):
            key = one.key.removeprefix(layout.all_of(self.cluster))
            if collection.kind_of(key) != "pins":
                continue
            pin = pins.find(self.store, self.keys, key.removeprefix("pins/"))
            if pin is not None:
                seen.append(SeenPin(key, pin.work, pin.snapshot, pin.attempt, pin.started, one.modified))
                bases[key] = [base.manifest for base in pin.bases]
        return seen, bases

    def _since(self, listed: Iterable[Listed]) -> dict[str, datetime]:
        """Since when each object is unreachable, by the newest mark.

        A mark that is gone by now was replaced by another.
        """
        for mark in sorted(listed, key=lambda one: (one.modified, one.key), reverse=True):
            key = layout.all_of(self.cluster) + mark.key
            try:
                return {
                    name: since or mark.modified
                    for name, since in collection_marks.read(self.store, self.keys, key)
                }
            except ObjectMissing:
                continue
        return {}

    def _reached(self, found: Found, rules: Rules, reached: Reached | None = None) -> Reached:
        """Each object that roots and live pins reach, with the first one that reaches it.

        `reached` comes from an earlier look and is added to. Objects already in it are not read again.
        """
        reached = reached or Reached(found.known.facts)
        look = found.look
        purged = frozenset(collection.to_purge(look, rules))
        holders = [
            (f"reached by snapshot {look.published[snapshot]}", stored)
            for snapshot, stored in found.manifests.items()
            if snapshot not in purged
        ] + [(f"pinned by the {pin}", found.bases[pin.key]) for pin in collection.live_pins(look, rules)]
        for number, (who, stored) in enumerate(holders):
            self.go_on(number, len(holders))
            for manifest in stored:
                # Else another holder reaches it, together with everything below it.
                if not reached.has_manifest(manifest.id):
                    reached.add(
                        who, manifest.id, found.known.manifest(manifest, found.sizes.get(manifest.id))
                    )
        return reached

    # -- removing ----------------------------------------------------------------------------------------------

    def _close(self, found: Found) -> int:
        """Close the roots of abandoned captures, so that they cannot publish objects that are about to go."""
        given_up = collection.to_close(found.look, self.rules)
        for pin in given_up:
            time = found.look.now.isoformat()
            roots.bury(self.store, self.keys, pin.snapshot, pin.attempt, "nobody went on with it", time)
        return len(given_up)

    def _purge(self, found: Found) -> list[str]:
        time = found.look.now.isoformat()
        return [
            snapshot
            for snapshot in collection.to_purge(found.look, self.rules)
            if roots.purge(self.store, self.keys, snapshot, time)
        ]

    def _mark(self, found: Found, plan: Plan, done: Collected) -> int:
        """Count the plan's items, and store a mark if it has unreachable objects. Return how many are to be removed."""
        since, total = found.look.since, 0

        def unreachable() -> Iterator[tuple[str, datetime | None]]:
            nonlocal total
            for item in plan():
                done.count(item)
                total += item.verdict is Verdict.DELETE
                if item.verdict is not Verdict.KEEP and collection.is_content(item.key):
                    yield item.key, since.get(item.key)

        marked = unreachable()
        if (first := next(marked, None)) is not None:
            collection_marks.store_mark(self.store, self.keys, chain([first], marked))
            for _ in marked:  # those that the mark has no room for are counted too
                pass
        return total

    def _remove(self, found: Found, plan: Plan, done: Collected, total: int) -> None:
        """Delete content first and cluster keys last. Each rank waits until the one before it is gone.

        Content goes while the plan is made once more, so that a plan of any length takes no memory.
        """
        others: list[Item] = []

        def content() -> Iterator[Item]:
            for item in plan() if total else ():
                if item.verdict is Verdict.DELETE and collection.is_content(item.key):
                    yield item
                elif item.verdict is Verdict.DELETE:
                    others.append(item)

        def ranks() -> Iterator[Iterator[Item]]:
            yield content()
            others.sort(key=_rank)
            for _, items in groupby(others, key=_rank):
                yield items

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for items in ranks():
                while part := list(islice(items, _SLICE)):
                    self.go_on(done.deleted, total)
                    if news := self._news(found):
                        done.stopped_by = news
                        return
                    list(pool.map(self._delete, part))
                    done.deleted += len(part)
                    done.deleted_bytes += sum(item.size for item in part)
        done.keys_gone = any(item.key.startswith("keys/") for item in others)

    def _delete(self, item: Item) -> None:
        self.store.delete(layout.all_of(self.cluster) + item.key)

    def _forget(self, found: Found, plan: Plan, reached: Reached) -> None:
        """End findings about objects that are gone and unreached."""
        known = findings.read(self.store, self.keys)
        if not known.faults:
            return
        folder = layout.all_of(self.cluster)
        items = [item for item in plan() if folder + item.key in known.faults]
        removed = {item.key for item in items if item.verdict is Verdict.DELETE}
        there = {item.key for item in items} - removed

        def is_gone(key: str) -> bool:
            key = key.removeprefix(folder)
            if key in removed:
                return True
            may_go = collection.is_content(key) or collection.kind_of(key) == "reach"
            return may_go and key not in there and reached.get(key) is None

        findings.forget(self.store, self.keys, known, is_gone, found.look.closed, found.look.now)

    def _news(self, found: Found) -> str:
        """The key of a root or pin that has appeared since the look; empty when there is no new one."""
        folder = layout.all_of(self.cluster)
        for prefix in (layout.pins_of(self.cluster), layout.roots_of(self.cluster)):
            for one in self.store.list(prefix):
                if (key := one.key.removeprefix(folder)) not in found.seen:
                    return key
        return ""


def _rank(item: Item) -> int:
    return collection.removal_order(item.key)


def summary(items: Iterable[Item]) -> Collected:
    """The totals of this plan, as if it were carried out."""
    would = Collected()
    for item in items:
        would.count(item)
        if item.verdict is Verdict.PURGE:
            would.purged.append(item.key.removeprefix("roots/"))
        elif item.verdict is Verdict.DELETE:
            would.deleted, would.deleted_bytes = would.deleted + 1, would.deleted_bytes + item.size
            would.keys_gone = would.keys_gone or item.key.startswith("keys/")
    return would


def is_empty(store: ObjectStore, cluster: str) -> bool:
    """Whether the repository holds no object of the cluster."""
    return next(iter(store.list(layout.all_of(cluster))), None) is None


def _note_root(listed: dict[str, StoredObject], folder: str, one: StoredObject) -> None:
    """Note the object if it lies at a root's key. The later of two listings counts."""
    key = one.key.removeprefix(folder)
    if collection.kind_of(key) == "roots":
        listed[key.removeprefix("roots/")] = one
