"""Garbage collection of one cluster's repository: decides which objects go, which stay, and why. Pure.

An object is deleted only if nothing reaches it now, and nothing reached it at a mark one grace period ago
(docs/format.md, section 12). All times are the object store's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from stillhouse.domain.object_kinds import CONTENT, KINDS, kind_at

QUIET = timedelta(hours=1)
"""A pin that is older than this belongs to work that has ended, or that must be ended."""

SKEW = timedelta(hours=1)
"""The clocks of one store's servers may differ by this much."""

LEAST_GRACE = timedelta(days=7)
"""The shortest grace without a catalog. Then only listings show the roots, and some stores list new objects late."""

# This work needs only objects that it has pinned or made. Any other work may need more.
_KNOWN_WORK = ("capture", "restore")


class Verdict(StrEnum):
    KEEP = "keep"
    MARK = "mark"  # unreachable, but not for long enough
    PURGE = "purge"  # a root that a tombstone replaces
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Listed:
    """An object of the cluster. `key` is its key without `c/<cluster>/`."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class SeenPin:
    """A pin found in the store. `started` is the time written in the pin, `put` the store's time of the pin."""

    key: str
    work: str
    snapshot: str
    attempt: int
    started: datetime
    put: datetime

    def __str__(self) -> str:
        return f"{self.work} of snapshot {self.snapshot}, attempt {self.attempt}"


@dataclass(frozen=True)
class Look:
    """The cluster as a collector found it.

    `published` maps each snapshot with a root to its name. `closed` are the snapshots with a tombstone. `since` comes
    from the newest mark: it maps each unreachable object to the time since when it is unreachable.
    """

    now: datetime
    objects: Sequence[Listed]
    published: Mapping[str, str]
    closed: AbstractSet[str]
    pins: Sequence[SeenPin]
    since: Mapping[str, datetime]

    @cached_property
    def trashed(self) -> dict[str, datetime]:
        """The snapshots with a trash mark, and the time of the mark."""
        return {
            one.key.removeprefix("trash/"): one.modified
            for one in self.objects
            if kind_of(one.key) == "trash"
        }


@dataclass(frozen=True)
class Rules:
    """The rules of a collection. `grace` is how long an object must be unreachable, `trash` the time in the trash.

    `released` are the snapshots that the catalog releases for purging. If it is `None`, there is no catalog and time
    decides. `given_up` says that the cluster itself was deleted: its keys go when nothing else of it is left.
    """

    grace: timedelta
    trash: timedelta
    released: frozenset[str] | None = None
    given_up: bool = False


@dataclass(frozen=True)
class Item:
    """The verdict on one object, and the reason, in words for people."""

    key: str
    size: int
    verdict: Verdict
    why: str


@dataclass
class Collected:
    """The result of a collection. `stopped_by` is the key of a new root or pin that ended it early."""

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
        """Count an item that stays, for good or for now."""
        if item.verdict is Verdict.KEEP:
            self.kept, self.kept_bytes = self.kept + 1, self.kept_bytes + item.size
        elif item.verdict is Verdict.MARK:
            self.marked, self.marked_bytes = self.marked + 1, self.marked_bytes + item.size


def is_stale(pin: SeenPin, look: Look, grace: timedelta) -> bool:
    """Whether the pin's work has ended. While its snapshot has neither root nor tombstone, a whole grace must pass:
    then the root's key is closed first.
    """
    age = look.now - pin.put
    is_taken = pin.snapshot in look.published or pin.snapshot in look.closed
    return age > QUIET if is_taken else age > max(grace, QUIET)


def live_pins(look: Look, rules: Rules) -> list[SeenPin]:
    return [pin for pin in look.pins if not is_stale(pin, look, rules.grace)]


def to_close(look: Look, rules: Rules) -> list[SeenPin]:
    """Return the pins of abandoned captures. Their snapshots need a tombstone, so that a late writer cannot publish."""
    return [
        pin
        for pin in look.pins
        if pin.work == "capture"
        and is_stale(pin, look, rules.grace)
        and pin.snapshot not in look.published
        and pin.snapshot not in look.closed
    ]


def to_purge(look: Look, rules: Rules) -> list[str]:
    """Return the published snapshots that have been in the trash long enough."""
    return [
        snapshot
        for snapshot, marked in sorted(look.trashed.items())
        if snapshot in look.published
        and (marked + rules.trash <= look.now if rules.released is None else snapshot in rules.released)
    ]


class Reached(Protocol):
    """Tells who reaches an object; a dict does."""

    def get(self, key: str, /) -> str | None: ...


def plan(look: Look, rules: Rules, reached: Reached) -> Iterator[Item]:
    """Yield a verdict on every object, in the listing's order.

    `reached` gives the reason, in words, why a pack, map or manifest is reached: a published snapshot that is not to be
    purged, or a live pin.
    """
    judge = _Judge(look, rules, reached)
    for one in look.objects:
        verdict, why = judge.judge(one)
        yield Item(one.key, one.size, verdict, why)


def kind_of(key: str) -> str:
    """Return the folder of a key if its whole form is known. Empty for any other key."""
    kind = kind_at(key)
    return "" if kind is None else kind.folder


def is_content(key: str) -> bool:
    """Whether the key is of a pack, map or manifest: objects that are deleted when nothing reaches them."""
    return kind_of(key) in CONTENT


def removal_order(key: str) -> int:
    """Return the rank by which objects are deleted: objects that refer to others go after them, cipher keys last."""
    kind = KINDS.get(key.partition("/")[0])
    return 0 if kind is None else kind.rank


_Judgement = tuple[Verdict, str]


class _Judge:
    def __init__(self, look: Look, rules: Rules, reached: Reached) -> None:
        self._look, self._rules, self._reached = look, rules, reached
        self._trashed = look.trashed
        self._purged = frozenset(to_purge(look, rules))
        self._live = live_pins(look, rules)
        self._live_keys = {pin.key: pin for pin in self._live}
        self._strange = next((pin for pin in self._live if pin.work not in _KNOWN_WORK), None)
        self._oldest = min(self._live, key=lambda pin: pin.started, default=None)
        self._is_over = self._nothing_is_left()

    def _nothing_is_left(self) -> bool:
        if not self._rules.given_up or self._look.published or self._live:
            return False
        return not any(kind_of(one.key) in ("", *CONTENT) for one in self._look.objects)

    def judge(self, one: Listed) -> _Judgement:
        kind, (_, _, name) = kind_at(one.key), one.key.partition("/")
        if kind is None:
            return Verdict.KEEP, "of a kind or name that is not known here: never touched"
        if self._is_over:
            return Verdict.DELETE, "the cluster is deleted, and nothing of its snapshots is left"
        if kind.kept:
            return Verdict.KEEP, kind.kept
        if kind.is_content:
            return self._of_content(one)
        match kind.folder:
            case "roots":
                return self._of_root(name)
            case "trash":
                return self._of_trash_mark(name)
            case "pins":
                return self._of_pin(one)
            case "marks":
                return Verdict.DELETE, "this collection's mark replaces it"
        raise NotImplementedError(f"no rule says when objects of {kind.folder}/ go")

    def _of_root(self, snapshot: str) -> _Judgement:
        if snapshot not in self._look.published:
            return Verdict.KEEP, "tombstone: it keeps a late writer from publishing"
        name = f"snapshot {self._look.published[snapshot]}"
        if snapshot in self._purged:
            return (
                Verdict.PURGE,
                f"{name}: in the trash since {at(self._trashed[snapshot])}, its time is over",
            )
        if snapshot in self._trashed:
            return (
                Verdict.KEEP,
                f"{name}: in the trash until {at(self._trashed[snapshot] + self._rules.trash)}",
            )
        return Verdict.KEEP, name

    def _of_trash_mark(self, snapshot: str) -> _Judgement:
        if snapshot in self._purged or snapshot in self._look.closed:
            return Verdict.DELETE, f"snapshot {snapshot} is purged"
        return Verdict.KEEP, f"says that snapshot {snapshot} is deleted"

    def _of_pin(self, one: Listed) -> _Judgement:
        if (live := self._live_keys.get(one.key)) is not None:
            return Verdict.KEEP, str(live)
        stale = next((pin for pin in self._look.pins if pin.key == one.key), None)
        if stale is None:
            return Verdict.KEEP, "was gone when it was to be read"
        return Verdict.DELETE, f"left behind by the {stale}"

    def _of_content(self, one: Listed) -> _Judgement:
        if (by := self._reached.get(one.key)) is not None:
            return Verdict.KEEP, by
        if self._strange is not None:
            return Verdict.KEEP, f"may be needed by the {self._strange}"
        if self._oldest is not None and one.modified >= self._oldest.started - SKEW:
            return Verdict.KEEP, f"as young as the {self._oldest}"
        since = self._look.since.get(one.key)
        if since is None:
            return Verdict.MARK, f"unreachable from now on, goes at {at(self._look.now + self._rules.grace)}"
        if since + self._rules.grace > self._look.now:
            goes = at(since + self._rules.grace)
            return Verdict.MARK, f"unreachable since {at(since)}, goes at {goes}"
        return Verdict.DELETE, f"unreachable since {at(since)}"


def at(moment: datetime) -> str:
    """Return a time in a form for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
