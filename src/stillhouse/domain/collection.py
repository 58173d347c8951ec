"""What of one cluster's repository goes, what stays, and why: pure. All times are the object store's own.

An object goes only if nothing reaches it now and nothing did at a mark one grace ago (docs/format.md, section 12).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

QUIET = timedelta(hours=1)
"""A pin put longer ago than this is of work that has ended, or that somebody has to end."""

SKEW = timedelta(hours=1)
"""So much may the clocks of one store's servers differ."""

LEAST_GRACE = timedelta(days=7)
"""Without a catalog only listings tell of roots, and some stores list late."""

# Of work that reads or builds upon what it has pinned. Any other may need what it did not make.
_KNOWN_WORK = ("capture", "restore")

_HEX = "[0-9a-f]{32}"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KEY = re.compile(
    f"(?P<kind>packs|maps|manifests|endings|pins|marks|scrubs|findings)/{_HEX}"
    f"|(?P<of>roots|trash)/(?P<snapshot>{_UUID})"
    "|(?P<keys>keys)/[0-9]{8}/[0-9a-f]{16}"
)
_CONTENT = frozenset({"packs", "maps", "manifests"})


class Verdict(StrEnum):
    KEEP = "keep"
    MARK = "mark"  # unreachable, but not for long enough
    PURGE = "purge"  # a root that a tombstone takes the place of
    DELETE = "delete"


@dataclass(frozen=True)
class Listed:
    """An object of the cluster; `key` is what stands behind `c/<cluster>/`."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class SeenPin:
    """`started` is the pin's own word, `put` the time that the store gives the pin."""

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

    `published` maps the snapshots that have a root to their names; `closed` are those that have a tombstone. `since`
    is what the newest mark says: of each object found unreachable, since when.
    """

    now: datetime
    objects: Sequence[Listed]
    published: Mapping[str, str]
    closed: AbstractSet[str]
    pins: Sequence[SeenPin]
    since: Mapping[str, datetime]

    @cached_property
    def trashed(self) -> dict[str, datetime]:
        """Snapshots with a trash mark, and its time."""
        return {
            match["snapshot"]: one.modified
            for one in self.objects
            if (match := _KEY.fullmatch(one.key)) and match["of"] == "trash"
        }


@dataclass(frozen=True)
class Rules:
    """`released` are the snapshots that the catalog gives up for purging; None: there is no catalog, time decides.

    `given_up`: the cluster itself was deleted; when nothing of it is left its keys go.
    """

    grace: timedelta
    trash: timedelta
    released: frozenset[str] | None = None
    given_up: bool = False


@dataclass(frozen=True)
class Item:
    """What becomes of one object, and why, in words for people."""

    key: str
    size: int
    verdict: Verdict
    why: str


def is_stale(pin: SeenPin, look: Look, grace: timedelta) -> bool:
    """Whether its work has ended. Where its snapshot's key is still free, that key must be closed first."""
    age = look.now - pin.put
    is_taken = pin.snapshot in look.published or pin.snapshot in look.closed
    return age > QUIET if is_taken else age > max(grace, QUIET)


def live_pins(look: Look, rules: Rules) -> list[SeenPin]:
    return [pin for pin in look.pins if not is_stale(pin, look, rules.grace)]


def to_close(look: Look, rules: Rules) -> list[SeenPin]:
    """Pins of captures that nobody goes on with: a tombstone keeps what is left of them from publishing."""
    return [
        pin
        for pin in look.pins
        if pin.work == "capture"
        and is_stale(pin, look, rules.grace)
        and pin.snapshot not in look.published
        and pin.snapshot not in look.closed
    ]


def to_purge(look: Look, rules: Rules) -> list[str]:
    """Published snapshots whose time in the trash is over."""
    return [
        snapshot
        for snapshot, marked in sorted(look.trashed.items())
        if snapshot in look.published
        and (marked + rules.trash <= look.now if rules.released is None else snapshot in rules.released)
    ]


def plan(look: Look, rules: Rules, reached: Mapping[str, str]) -> Iterator[Item]:
    """A verdict on every object, in the listing's order.

    `reached` maps the keys of all packs, maps and manifests that something reaches to what does, in words: a published
    snapshot that is not to be purged, or a live pin.
    """
    judge = _Judge(look, rules, reached)
    for one in look.objects:
        verdict, why = judge.judge(one)
        yield Item(one.key, one.size, verdict, why)


def kind_of(key: str) -> str:
    """The folder of a key whose whole form is known; empty for any other."""
    match = _KEY.fullmatch(key)
    return "" if match is None else match["kind"] or match["of"] or match["keys"]


def is_content(key: str) -> bool:
    """Whether it is of the objects that go when nothing reaches them."""
    return kind_of(key) in _CONTENT


def removal_order(key: str) -> int:
    """What speaks of other objects goes after them, and the keys of ciphers last of all."""
    folder = key.partition("/")[0]
    return {
        "scrubs": 1,
        "findings": 1,
        "trash": 1,
        "pins": 1,
        "marks": 1,
        "endings": 2,
        "roots": 2,
        "keys": 3,
    }.get(folder, 0)


_Judgement = tuple[Verdict, str]


class _Judge:
    def __init__(self, look: Look, rules: Rules, reached: Mapping[str, str]) -> None:
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
        return not any(_KEY.fullmatch(one.key) is None or is_content(one.key) for one in self._look.objects)

    def judge(self, one: Listed) -> _Judgement:
        match = _KEY.fullmatch(one.key)
        if match is None:
            return Verdict.KEEP, "of a kind or name that is not known here: never touched"
        if self._is_over:
            return Verdict.DELETE, "the cluster is deleted, and nothing of its snapshots is left"
        if match["keys"]:
            return Verdict.KEEP, "keys of the cluster: without them nothing can be read"
        if match["of"] == "roots":
            return self._of_root(match["snapshot"])
        if match["of"] == "trash":
            return self._of_trash_mark(match["snapshot"])
        if match["kind"] == "pins":
            return self._of_pin(one)
        if match["kind"] == "marks":
            return Verdict.DELETE, "this collection's mark takes its place"
        if match["kind"] == "scrubs":
            return Verdict.KEEP, "record of a scrub"
        if match["kind"] == "findings":
            return Verdict.KEEP, "says what is known to be damaged"
        if match["kind"] == "endings":
            return Verdict.KEEP, "says how a deletion ended: it keeps a late purge from what was brought back"
        return self._of_content(one)

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
            return Verdict.KEEP, "was gone when it was looked at"
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
    """A time for people."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
