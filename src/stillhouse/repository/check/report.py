"""Reports of a check or a verification, for people and programs."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from stillhouse.domain.object_kinds import CONTENT
from stillhouse.repository.check.damage import Damage
from stillhouse.repository.check.orphans import look_for_lost_roots
from stillhouse.repository.check.record import conclude
from stillhouse.repository.check.structure import Checked
from stillhouse.repository.format import layout
from stillhouse.repository.objects import scrubs


@dataclass(frozen=True)
class SnapshotReport:
    """`oldest_scrub` is the earliest last time that one of its packs was read whole; None when no time is known."""

    snapshot: str
    name: str
    in_trash: bool
    packs: int
    oldest_scrub: datetime | None
    overdue: tuple[str, ...]


@dataclass(frozen=True)
class ClusterReport:
    """`unreached` objects and bytes are below no root. That is no damage: a collection removes them."""

    cluster: str
    snapshots: tuple[SnapshotReport, ...]
    damages: tuple[Damage, ...]
    notices: tuple[str, ...]
    packs: int
    packs_read: int
    bytes_read: int
    unreached: int
    unreached_bytes: int


def sum_up(
    checked: Checked, *, now: datetime, max_age: timedelta, packs_read: int = 0, bytes_read: int = 0
) -> ClusterReport:
    """Build the reports, and record the damage in the repository so that no capture builds on it."""
    look_for_lost_roots(checked)
    place = checked.place
    unreached = unreached_sizes(checked)
    found = tuple(conclude(checked, now))
    return ClusterReport(
        place.cluster,
        _snapshots(checked, now, max_age),
        found,
        (*checked.notices, *_oddities(checked)),
        len(checked.packs),
        packs_read,
        bytes_read,
        len(unreached),
        sum(unreached),
    )


def unreached_sizes(checked: Checked) -> list[int]:
    """Sizes of packs, maps and manifests below no root.

    If a manifest is lost, the objects that it reached count too.
    """
    reached = checked.reached()
    return [
        stored.size
        for key, stored in checked.place.listed.items()
        if layout.folder(key) in CONTENT and key not in reached
    ]


def ages(checked: Checked, now: datetime, max_age: timedelta) -> dict[str, scrubs.ScrubAge]:
    """The age of each snapshot's last scrub."""
    place = checked.place
    if place.keys is None:
        return {}
    said = scrubs.read(place.store, place.keys)
    folder = f"c/{place.cluster}/packs/"
    written = {
        key.removeprefix(folder): stored.modified
        for key, stored in place.listed.items()
        if key.startswith(folder)
    }
    return {
        snapshot: scrubs.age(checked.packs_of(snapshot), written, said, now, max_age)
        for snapshot in place.roots
    }


def _snapshots(checked: Checked, now: datetime, max_age: timedelta) -> tuple[SnapshotReport, ...]:
    place = checked.place
    return tuple(
        SnapshotReport(
            snapshot,
            place.roots[snapshot].name,
            snapshot in place.trash,
            len(checked.packs_of(snapshot)),
            age.oldest,
            age.overdue,
        )
        for snapshot, age in sorted(ages(checked, now, max_age).items())
    )


def _oddities(checked: Checked) -> list[str]:
    place, found = checked.place, []
    if checked.unrecorded:
        found.append(f"the damage could not be written down in the repository: {checked.unrecorded}")
    if place.other_keks:
        found.append(f"{place.other_keks} objects hold keys wrapped by other KEKs than {place.kek.id}")
    if place.unknown:
        found.append(f"{place.unknown} objects lie under prefixes that this program does not know")
    return found
