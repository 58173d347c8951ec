"""An undelete and a purge of one deletion, that know nothing of each other: one wins, wherever the other was."""

from datetime import timedelta

import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Rules
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.repository.format.sealed import seal
from stillhouse.repository.objects import deletion_endings, roots
from stillhouse.repository.objects.deletion_endings import Ending
from stillhouse.repository.upkeep.collect import Collector
from support.repositories.tiny_captures import publish_one, read_whole
from support.stores.late_store import Died, LateStore

DAY = timedelta(days=1)
DELETED = "2026-01-01T00:00:00+00:00"
COLLECTION = range(1, 30)
"""Calls to the store of a collection that purges one snapshot, and some more."""
UNDELETE = range(1, 9)


class Bed:
    """One snapshot that went to the trash 8 days ago, of 7 that it may be there."""

    def __init__(self) -> None:
        self.store = LateStore()
        self.keys = create_or_open(self.store, Kek(bytes(32)), new_uuid())
        self.snapshot, _ = publish_one(self.store, self.keys)
        self.mark()
        self.store.now += 8 * DAY

    def mark(self, deleted: str = DELETED) -> None:
        roots.mark_trash(self.store, self.keys, self.snapshot, deleted)

    def collect(self) -> list[str]:
        rules = Rules(grace=7 * DAY, trash=7 * DAY)
        return Collector(self.store, self.keys, SystemClock(), rules).collect().purged

    def undelete(self, deleted: str = DELETED) -> bool:
        """As the service does: what has no root any more is refused."""
        if roots.read(self.store, self.keys, self.snapshot) is None:
            return False
        return roots.bring_back(self.store, self.keys, self.snapshot, deleted, "now")

    def is_there(self) -> bool:
        """Its root and all that this needs, after collections for weeks."""
        for _ in range(4):
            self.store.now += 8 * DAY
            self.collect()
        root = roots.read(self.store, self.keys, self.snapshot)
        if root is not None:
            read_whole(self.store, self.keys, root)
        return root is not None


@pytest.fixture
def bed() -> Bed:
    return Bed()


@pytest.mark.parametrize("call", COLLECTION)
def test_what_an_undelete_promised_stays_whatever_call_of_a_collection_it_came_before(
    bed: Bed, call: int
) -> None:
    promised: list[bool] = []
    bed.store.meanwhile = {bed.store.calls + call: lambda: promised.append(bed.undelete())}
    purged = bed.collect()
    assert bed.is_there() is (promised == [True])
    assert (purged == []) is (promised == [True])


@pytest.mark.parametrize("call", UNDELETE)
def test_an_undelete_promises_nothing_that_a_collection_took_between_its_calls(bed: Bed, call: int) -> None:
    purged: list[str] = []
    bed.store.meanwhile = {bed.store.calls + call: lambda: purged.extend(bed.collect())}
    promised = bed.undelete()
    assert promised is (purged == [])
    assert bed.is_there() is promised


@pytest.mark.parametrize("calls", range(30))
def test_what_a_killed_collection_left_can_be_brought_back_or_is_refused_for_good(
    bed: Bed, calls: int
) -> None:
    bed.store.calls_left = calls
    try:
        bed.collect()
    except Died:
        pass
    finally:
        bed.store.calls_left = None
    promised = bed.undelete()
    assert bed.undelete() is promised, "asked again it says the same"
    assert bed.is_there() is promised


@pytest.mark.parametrize("calls", range(6))
def test_a_killed_undelete_is_gone_on_with(bed: Bed, calls: int) -> None:
    bed.store.calls_left = calls
    try:
        bed.undelete()
    except Died:
        pass
    finally:
        bed.store.calls_left = None
    assert bed.undelete()
    assert bed.is_there()


def test_a_mark_that_is_put_late_purges_nothing(bed: Bed) -> None:
    assert bed.undelete()
    bed.mark()
    assert bed.is_there()


def test_a_mark_of_another_time_is_ended_with_the_row_s_own(bed: Bed) -> None:
    """A program of before marked by its clock, and a rebuilt catalog has the mark's time in its own letters."""
    rows = "2025-12-31T23:59:59+00:00"
    assert bed.undelete(rows)
    for deleted in (DELETED, rows):
        bed.mark(deleted)
        assert bed.is_there()


def test_a_later_deletion_is_one_of_its_own(bed: Bed) -> None:
    assert bed.undelete()
    bed.mark("2026-01-09T00:00:00+00:00")
    assert not bed.is_there()


def test_a_purge_under_way_is_not_undeleted(bed: Bed) -> None:
    deletion_endings.end(bed.store, bed.keys, bed.snapshot, DELETED, Ending.PURGED, "now")
    assert not bed.undelete()
    assert bed.collect() == [bed.snapshot], "whoever collects next goes on with it"


def test_an_ending_that_says_something_else_stops_the_purge(bed: Bed) -> None:
    key = deletion_endings.id_of(bed.snapshot, DELETED)
    body = b'{"how":"later"}'
    bed.store.create(layout.ending(str(bed.keys.cluster), key), seal(bed.keys, Type.ENDING, key, body))
    with pytest.raises(RepositoryDamaged, match="not an ending"):
        bed.collect()
    assert roots.read(bed.store, bed.keys, bed.snapshot) is not None
