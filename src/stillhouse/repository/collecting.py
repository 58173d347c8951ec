"""Carries a collection out: looks, purges, marks, deletes (docs/format.md, section 12). Bytes only.

Between any two calls to the store it may be killed: the next one begins again by looking.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

from stillhouse.clock import Clock
from stillhouse.domain import collection
from stillhouse.domain.collection import Item, Listed, Look, Rules, SeenPin, Verdict
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository import findings, layout, marks, pins, reach, roots
from stillhouse.repository.container import Type
from stillhouse.repository.keys import ClusterKeys
from stillhouse.repository.sealed import Stored
from stillhouse.storage.now import store_time
from stillhouse.storage.store import ObjectStore

# Deleted between two looks at roots and pins.
_SLICE = 500
_AT_ONCE = 8

GoOn = Callable[[int, int], None]
"""Told of work done and work in all; raises to stop the collection, which may be stopped anywhere."""


@dataclass
class Collected:
    """What a collection did. `stopped_by` names what appeared meanwhile, and ended it early."""

    purged: list[str] = field(default_factory=list)
    marked: int = 0
    marked_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    kept: int = 0
    kept_bytes: int = 0
    keys_gone: bool = False
    stopped_by: str = ""

    def count(self, item: Item) -> None:
        """What stays, for good or for the time being."""
        if item.verdict is Verdict.KEEP:
            self.kept, self.kept_bytes = self.kept + 1, self.kept_bytes + item.size
        elif item.verdict is Verdict.MARK:
            self.marked, self.marked_bytes = self.marked + 1, self.marked_bytes + item.size


@dataclass(frozen=True)
class Found:
    """A look, the manifests of the roots and pins that were seen in it, and the keys of these roots and pins."""

    look: Look
    manifests: dict[str, list[Stored]]
    bases: dict[str, list[Stored]]
    seen: frozenset[str]


@dataclass(frozen=True)
class Collector:
    """One cluster's repository, and what it may be collected by.

    `known` are the snapshots that a catalog calls usable: their roots count, whatever a listing says.
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
        """The plan that `collect` would carry out now; nothing is touched.

        Raises RepositoryDamaged, naming it, for any root, pin, manifest or mark that is not wholly understood.
        """
        found = self._look()
        reached = self._reached(found, self.rules, {})
        return found.look, collection.plan(found.look, self.rules, reached)

    def collect(self) -> Collected:
        """Raises as `draft` does, before anything is purged or removed."""
        done = Collected()
        found = self._look()
        reached = self._reached(found, self.rules, {})
        closed, done.purged = self._close(found), self._purge(found)
        if closed or done.purged:
            found = self._look()
        # Whatever still has a root now keeps what it reaches: it was brought back, or listed late.
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
            marks.store_mark(self.store, self.keys, ((key, since.get(key)) for key in unreachable))
        self._remove(found, removed, done)
        if not done.stopped_by and not done.keys_gone:
            self._forget(found, reached, {item.key for item in removed})
        return done

    # -- looking -----------------------------------------------------------------------------------------------

    def _look(self) -> Found:
        """The order matters: a capture creates its root before it removes its pin."""
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
            elif held[0] is Type.TOMBSTONE:
                closed.add(snapshot)
            else:
                published[snapshot] = str(held[1].get("name", snapshot))
                manifests[snapshot] = reach.manifests(held[1])
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
        """What the newest mark says; one that is gone was listed late, and another has taken its place."""
        listed = [one for one in objects if collection.kind_of(one.key) == "marks"]
        for mark in sorted(listed, key=lambda one: (one.modified, one.key), reverse=True):
            key = layout.all_of(self.cluster) + mark.key
            try:
                return {
                    name: since or mark.modified for name, since in marks.read(self.store, self.keys, key)
                }
            except ObjectMissing:
                continue
        return {}

    def _reached(self, found: Found, rules: Rules, reached: dict[str, str]) -> dict[str, str]:
        """What roots and live pins reach, and who does. Many snapshots name one object: the first is told.

        `reached` is of an earlier look, and added to: what it has is not read again.
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
                    continue  # of another holder, and all below it with it
                for key, _ in reach.reached(self.store, self.keys, manifest):
                    reached.setdefault(key.removeprefix(folder), who)
        return reached

    # -- removing ----------------------------------------------------------------------------------------------

    def _close(self, found: Found) -> int:
        """Keep captures that nobody goes on with from publishing what is about to go."""
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
        """Content first, the keys of ciphers last; each rank only when the one before is gone."""
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
        """End findings whose objects are gone, when nothing reaches those."""
        listed = {one.key for one in found.look.objects}
        if not any(collection.kind_of(key) == "findings" for key in listed):
            return
        folder = layout.all_of(self.cluster)

        def is_gone(key: str) -> bool:
            key = key.removeprefix(folder)
            return key in removed or (collection.is_content(key) and key not in listed and key not in reached)

        findings.forget(self.store, self.keys, is_gone, found.look.closed, found.look.now)

    def _news(self, found: Found) -> str:
        """A root or pin that was not there when it was looked; empty when there is none."""
        folder = layout.all_of(self.cluster)
        for prefix in (layout.pins_of(self.cluster), layout.roots_of(self.cluster)):
            for one in self.store.list(prefix):
                if (key := one.key.removeprefix(folder)) not in found.seen:
                    return key
        return ""


def summary(items: Iterable[Item]) -> Collected:
    """What carrying out this plan would come to."""
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
    """Whether nothing of the cluster is in the repository."""
    return next(iter(store.list(layout.all_of(cluster))), None) is None


def _ids(keys: Iterable[str]) -> set[str]:
    return {key.removeprefix("roots/") for key in keys if collection.kind_of(key) == "roots"}
