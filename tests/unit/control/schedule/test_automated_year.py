"""A year of policies, with failures, busy clusters, downtimes and clocks set wrong in it; every snapshot accounted for.

What must hold is asked of the record, by code that shares nothing with what made it.
"""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillhouse.control.schedule.snapshot_policies import set_policies
from stillhouse.control.snapshots.requests import request_copy, request_snapshot
from stillhouse.domain.snapshot import SnapshotStatus, SnapshotType
from stillhouse.domain.snapshot_policies import Outcome
from support.control.automated_bed import PROJECT, Bed, automated_bed

BEGIN, END = datetime(2026, 1, 1, 12, 0, tzinfo=UTC), datetime(2027, 1, 1, 12, 0, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
# The default policies' times, by hand: Sunday 02:00 in full; Monday to Saturday 02:07, 10:07 and 18:07.
TIMES = {6: [(2, 0)]}
WORKDAY = [(2, 7), (10, 7), (18, 7)]
# When the service looks, in minutes of the day: after each due time, and within and past its hour where it may wait.
LOOKS, LOOKS_WHILE_BUSY = [128, 608, 1088], [185, 190, 669, 1149, 1152]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with automated_bed(tmp_path) as bed:
        yield bed


def due_times(after: datetime, until: datetime) -> list[datetime]:
    days = (after.date() + DAY * n for n in range((until.date() - after.date()).days + 1))
    moments = [
        datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
        for day in days
        for hour, minute in TIMES.get(day.weekday(), WORKDAY)
    ]
    return [moment for moment in moments if after < moment <= until]


@dataclass
class Year:
    """Throws things at one cluster, and remembers when the service looked and how long snapshots were kept then."""

    bed: Bed
    draw: random.Random
    cluster: str
    keep_day: int = 7
    ends: datetime = BEGIN  # of the snapshot at work
    held_until: datetime = BEGIN
    down_until: datetime = BEGIN
    looks: list[tuple[datetime, int]] = field(default_factory=list)
    manual: set[str] = field(default_factory=set)
    copied: set[str] = field(default_factory=set)
    held: bool = False

    def look(self, now: datetime) -> None:
        """The world moves on to `now`; then the timer looks, if the service is there."""
        self.bed.at(now)
        running = self.bed.running(self.cluster) is not None
        if running and now >= self.ends:
            self.bed.finish(self.cluster, "planted" if self.draw.random() < 0.25 else "")
            running = False
        if self.held and now >= self.held_until:
            self.bed.free(self.cluster)
            self.held = False
        if now >= self.down_until:
            self._tick()
            if not running:
                self.ends = now + MINUTE * self.draw.choice([3, 10, 25, 25, 50, 300])

    def _tick(self) -> None:
        self.bed.tick()
        self.looks.append((self.bed.clock.time, self.keep_day))

    def trouble(self, now: datetime) -> None:
        """At most one thing a day, each of them several times a year."""
        chance = self.draw.random()
        is_idle = not self.held and self.bed.running(self.cluster) is None and now >= self.down_until
        if chance < 0.06:
            self.down_until = now + HOUR * self.draw.choice([1, 5, 30, 24 * 9])
        elif chance < 0.2 and is_idle:
            self.bed.hold(self.cluster)
            self.held, self.held_until = True, now + MINUTE * self.draw.choice([20, 70, 600])
        elif chance < 0.26 and is_idle:
            self.manual.add(
                request_snapshot(
                    self.bed.control, PROJECT, name=f"manual-{now:%j-%H%M}", cluster_id=self.cluster
                )
            )
            self.ends = now + MINUTE * 5
        elif chance < 0.3 and is_idle:
            self._copy(now)
        elif chance < 0.34:
            self.keep_day = self.draw.choice([1, 3, 7, 31])
            set_policies(self.bed.control, PROJECT, self.cluster, keep_day=self.keep_day)
        elif chance < 0.4 and now >= self.down_until:
            # A clock set back for a while, and put right by the next look.
            self.bed.at(now - self.draw.choice([MINUTE, 3 * HOUR, 2 * DAY]))
            self._tick()

    def _copy(self, now: datetime) -> None:
        good = [
            each
            for each in self.bed.snapshots(self.cluster)
            if each.type is SnapshotType.AUTO and each.status is SnapshotStatus.AVAILABLE
        ]
        if good:
            source = self.draw.choice(good)
            if source.id not in self.copied:
                self.copied.add(source.id)
                name = f"copy-{now:%j-%H%M}"
                self.manual.add(request_copy(self.bed.control, PROJECT, source.id, name=name))
                self.bed.finish(self.cluster)

    def copies(self) -> set[str]:
        return {each.id for each in self.bed.snapshots(self.cluster) if each.copied_from}

    def live(self) -> None:
        day = BEGIN.date()
        while day < END.date():
            for minutes in sorted(LOOKS + LOOKS_WHILE_BUSY):
                if minutes in LOOKS_WHILE_BUSY and not self.held:
                    continue
                now = datetime(day.year, day.month, day.day, tzinfo=UTC) + MINUTE * minutes
                if now > BEGIN:
                    self.look(now)
            self.trouble(self.bed.clock.time + HOUR * self.draw.choice([1, 2]))
            day += DAY
        self.down_until = BEGIN
        self.look(END)


@pytest.mark.long
def test_a_year_is_accounted_for_snapshot_by_snapshot(bed: Bed) -> None:
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")  # noqa: T201
    bed.at(BEGIN)
    cluster = bed.cluster("sales", with_defaults=True)
    year = Year(bed, random.Random(seed), cluster)
    year.live()
    every_due_time_came_to_one_end(year)
    what_went_had_had_its_days(year)
    what_is_kept_is_explained(year)


def every_due_time_came_to_one_end(year: Year) -> None:
    """At each look a policy's newest due time becomes known, unless it was; all others are missed for good."""
    runs = year.bed.runs(year.cluster)
    due = due_times(BEGIN, END)
    known: set[datetime] = set()
    for days in ([6], [0, 1, 2, 3, 4, 5]):
        mine = [moment for moment in due if moment.weekday() in days]
        seen: set[datetime] = set()
        for look, _ in year.looks:
            newest = [BEGIN, *mine][bisect_right(mine, look)]
            if newest > max((moment for moment in seen if moment <= look), default=BEGIN):
                seen.add(newest)
        known |= seen
    ended = Counter(each.run.due for each in runs)
    assert set(ended.values()) == {1}
    assert set(ended) == {moment for moment in known if moment in ended or moment < END - DAY}
    assert all(each.reason for each in runs if each.outcome is Outcome.SKIPPED)
    taken = sum(each.outcome is Outcome.TAKEN for each in runs)
    captured = len(year.manual - year.copies())
    assert len(year.bed.flows("create_snapshot")) == taken + captured
    assert taken > 400, "of some 970"


def what_went_had_had_its_days(year: Year) -> None:
    """Each one was automated, old enough for what was set then, and no good itself or not the newest good one."""
    ever = year.bed.ever(year.cluster)
    gone = {id_: each for id_, each in ever.items() if each.deleted is not None}
    good = [
        each
        for each in ever.values()
        if each.type is SnapshotType.AUTO and each.status is SnapshotStatus.AVAILABLE
    ]
    keep_days: dict[datetime, set[int]] = {}
    for look, keep_day in year.looks:
        keep_days.setdefault(look, set()).add(keep_day)
    for each in gone.values():
        assert each.deleted is not None
        assert each.type is SnapshotType.AUTO
        assert each.deleted - each.started >= DAY * min(keep_days[each.deleted])
        assert each.status is not SnapshotStatus.AVAILABLE or any(
            each.started < other.started <= each.deleted <= (other.deleted or END) for other in good
        )
    audited = {
        record.resource.rsplit("/", 1)[1]: record.detail for record in year.bed.audit("ExpireSnapshot")
    }
    assert audited.keys() == gone.keys()
    assert sorted(year.bed.flows("delete_snapshot")) == sorted(gone)
    assert all("days are over" in detail for detail in audited.values())


def what_is_kept_is_explained(year: Year) -> None:
    """Each in one of four ways, and each way names who may stay; whoever is in none has been forgotten."""
    last_look = year.looks[-1][0]
    kept = year.bed.snapshots(year.cluster)
    automated = [each for each in kept if each.type is SnapshotType.AUTO]
    good = [each for each in automated if each.status is SnapshotStatus.AVAILABLE]
    why = {}
    for each in kept:
        if each.id in year.manual:
            why[each.name] = "manual, or a copy"
        elif last_look - each.started < DAY * year.keep_day:
            why[each.name] = f"younger than {year.keep_day} days"
        elif each.status is SnapshotStatus.CREATING:
            why[each.name] = "being taken"
        elif good and each.id == good[-1].id:
            why[each.name] = "the newest good one"
    for each in kept:
        print(f"{each.name:<32}{each.status:<12}{why.get(each.name, '?')}")  # noqa: T201
    assert [each.name for each in kept if each.name not in why] == []
    assert {each.id for each in kept if each.type is SnapshotType.MANUAL} == year.manual
