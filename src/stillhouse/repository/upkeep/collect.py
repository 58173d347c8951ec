"""Garbage collection of a cluster's objects: look, purge, mark, delete (docs/format.md, section 12).

This module only reads and writes; `collection` decides. A collection may be killed between any two calls to the
store: the next one starts again with a look.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from stillhouse.clock import Clock
from stillhouse.domain import collection
from stillhouse.domain.collection import Collected, Item, Listed, Look, Rules, SeenPin, Verdict
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import Tombstone
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import collection_marks, findings, pins, roots
from stillhouse.repository.upkeep import reach
from stillhouse.storage.store import ObjectStore
from stillhouse.storage.store_clock import store_time

# Objects deleted between two looks at roots and pins.
_SLICE = 500
_AT_ONCE = 8

GoOn = Callable[[int, int], None]
"""Called with work done and work in total. It raises to stop the collection, which is safe at any point."""


@dataclass(frozen=True)
class Found:
    """A look, the manifests of the roots and pins in it, and the keys of these roots and pins."""

    look: Look
    manifests: dict[str, list[Stored]]
    bases: dict[str, list[Stored]]
    seen: frozenset[str]


@dataclass(frozen=True)
class Collector:
    """Collects the garbage of one cluster by the given rules.

    `known` are the snapshots that a catalog calls usable. Their roots count even if a listing omits them.
    """

    store: ObjectStore
    keys: ClusterKeys
    clock: Clock
    rules: Rules
    known: frozenset[str] = frozenset()
    go_on: GoOn = lambda done, total: None

    @property
    def cluster(self) -> str:
        return str(self.keys.cluster)

    def draft(self) -> tuple[Look, Iterator[Item]]:
        """The plan that `collect` would carry out now. Nothing is changed.

        Raises RepositoryDamaged, naming the object, for any root, pin, manifest or mark that is not fully understood.
        """
        found = self._look()
        reached = self._reached(found, self.rules, {})
        return found.look, collection.plan(found.look, self.rules, reached)

    def collect(self) -> Collected:
        """Carry the plan out. Raises as `draft` does, before anything is purged or removed."""
        done = Collected()
        found = self._look()
        reached = self._reached(found, self.rules, {})
        closed, done.purged = self._close(found), self._purge(found)
        if closed or done.purged:
            found = self._look()
        # A snapshot that still has a root keeps its objects: it was brought back, or its root was listed late.
        rules = replace(self.rules, released=frozenset())
        reached = self._reached(found, rules, reached)
        removed: list[Item] = []
        unreachable: list[str] = []
        for item in collection.plan(found.look, rules, reached):
            done.count(item)
            if item.verdict is Verdict.DELETE:
                removed.append(item)
            if item.verdict is not Verdict.KEEP and collection.is_content(item.key):
                unreachable.append(item.key)
        if unreachable:
            since = found.look.since
            collection_marks.store_mark(self.store, self.keys, ((key, since.get(key)) for key in unreachable))
        self._remove(found, removed, done)
        if not done.stopped_by and not done.keys_gone:
            self._forget(found, reached, {item.key for item in removed})
        return done

    # -- looking -----------------------------------------------------------------------------------------------

    def _look(self) -> Found:
        """Look at the repository. The order matters: a capture creates its root before it removes its pin."""
        now = store_time(self.store, self.clock)
        folder = layout.all_of(self.cluster)
        objects = [
            Listed(one.key.removeprefix(folder), one.size, one.modified) for one in self.store.list(folder)
        ]
        seen_pins, bases = self._pins()
        published: dict[str, str] = {}
        closed: set[str] = set()
        manifests: dict[str, list[Stored]] = {}
        listed = _ids(one.key for one in objects) | _ids(
            one.key.removeprefix(folder) for one in self.store.list(layout.roots_of(self.cluster))
        )
        for snapshot in sorted(listed | self.known):
            held = roots.look(self.store, self.keys, snapshot)
            if held is None:
                self._demand_unknown(snapshot)
            elif isinstance(held, Tombstone):
                closed.add(snapshot)
            else:
                published[snapshot] = held.name or snapshot
                manifests[snapshot] = reach.manifests(held)
        look = Look(now, objects, published, closed, seen_pins, self._since(objects))
        seen = frozenset([*(f"roots/{one}" for one in listed | self.known), *(pin.key for pin in seen_pins)])
        return Found(look, manifests, bases, seen)

    def _demand_unknown(self, snapshot: str) -> None:
        if snapshot in self.known:
            raise RepositoryDamaged(
                f"{layout.root(self.cluster, snapshot)} is gone, though the catalog calls its snapshot usable"
            )

    def _pins(self) -> tuple[list[SeenPin], dict[str, list[Stored]]]:
        seen: list[SeenPin] = []
        bases: dict[str, list[Stored]] = {}
        for one in self.store.list(layout.pins_of(self.cluster)):
            key = one.key.removeprefix(layout.all_of(self.cluster))
            if collection.kind_of(key) != "pins":
                continue
            pin = pins.find(self.store, self.keys, key.removeprefix("pins/"))
            if pin is not None:
                seen.append(SeenPin(key, pin.work, pin.snapshot, pin.attempt, pin.started, one.modified))
                bases[key] = [base.manifest for base in pin.bases]
        return seen, bases

    def _since(self, objects: list[Listed]) -> dict[str, datetime]:
        """Since when each object is unreachable, by the newest mark.

        A mark that is gone by now was replaced by another.
        """
        listed = [one for one in objects if collection.kind_of(one.key) == "marks"]
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

    def _reached(self, found: Found, rules: Rules, reached: dict[str, str]) -> dict[str, str]:
        """Each object that roots and live pins reach, with the first one that reaches it.

        `reached` comes from an earlier look and is added to. Objects already in it are not read again.
        """
        look = found.look
        purged = frozenset(collection.to_purge(look, rules))
        holders = [
            (f"reached by snapshot {look.published[snapshot]}", stored)
            for snapshot, stored in found.manifests.items()
            if snapshot not in purged
        ] + [(f"pinned by the {pin}", found.bases[pin.key]) for pin in collection.live_pins(look, rules)]
        folder = layout.all_of(self.cluster)
        for number, (who, stored) in enumerate(holders):
            self.go_on(number, len(holders))
            for manifest in stored:
                if layout.manifest(self.cluster, manifest.id).removeprefix(folder) in reached:
                    continue  # reached by another holder, together with everything below it
                for key, _ in reach.reached(self.store, self.keys, manifest):
                    reached.setdefault(key.removeprefix(folder), who)
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

    def _remove(self, found: Found, removed: list[Item], done: Collected) -> None:
        """Delete content first and cluster keys last. Each rank waits until the one before it is gone."""
        order = sorted(removed, key=lambda item: collection.removal_order(item.key))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for _, ranked in groupby(order, key=lambda item: collection.removal_order(item.key)):
                items = list(ranked)
                for at in range(0, len(items), _SLICE):
                    self.go_on(done.deleted, len(order))
                    if news := self._news(found):
                        done.stopped_by = news
                        return
                    part = items[at : at + _SLICE]
                    list(pool.map(self._delete, part))
                    done.deleted += len(part)
                    done.deleted_bytes += sum(item.size for item in part)
        done.keys_gone = any(item.key.startswith("keys/") for item in order)

    def _delete(self, item: Item) -> None:
        self.store.delete(layout.all_of(self.cluster) + item.key)

    def _forget(self, found: Found, reached: Mapping[str, str], removed: AbstractSet[str]) -> None:
        """End findings about objects that are gone and unreached."""
        listed = {one.key for one in found.look.objects}
        if not any(collection.kind_of(key) == "findings" for key in listed):
            return
        folder = layout.all_of(self.cluster)

        def is_gone(key: str) -> bool:
            key = key.removeprefix(folder)
            return key in removed or (collection.is_content(key) and key not in listed and key not in reached)

        findings.forget(self.store, self.keys, is_gone, found.look.closed, found.look.now)

    def _news(self, found: Found) -> str:
        """The key of a root or pin that has appeared since the look; empty when there is no new one."""
        folder = layout.all_of(self.cluster)
        for prefix in (layout.pins_of(self.cluster), layout.roots_of(self.cluster)):
            for one in self.store.list(prefix):
                if (key := one.key.removeprefix(folder)) not in found.seen:
                    return key
        return ""


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


def _ids(keys: Iterable[str]) -> set[str]:
    return {key.removeprefix("roots/") for key in keys if collection.kind_of(key) == "roots"}
