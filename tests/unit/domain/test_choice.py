"""Which pages come from the base (docs/design/pages-from-the-base.md), and against a model of a relation's life."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillhouse.domain.page_choice import Changed, How, InBase, by_scan, by_summaries, is_unmoved


def blocks(*numbers: int) -> np.typing.NDArray[np.uint32]:
    return np.array(numbers, np.uint32)


def read(pages: int, base: InBase | None, changed: Changed | None, first: int = 0) -> list[int]:
    return [*by_summaries(pages, first, base, changed).read.tolist()]


BASE = InBase(10, 10)
LOOSE = InBase(10, 2)  # its frames hold so little that nothing is too fragmented


@pytest.mark.parametrize(("limit", "expected"), [(0, range(10)), (7, [7, 8, 9]), (10, []), (11, [])])
def test_1_what_lies_at_or_above_the_smallest_length_is_read_listed_or_not(
    limit: int, expected: list[int]
) -> None:
    assert read(10, BASE, Changed(limit, blocks())) == [*expected]


@pytest.mark.parametrize(("limit", "expected"), [(90, range(10)), (100, range(10)), (104, range(4, 10))])
def test_1_a_length_is_that_of_the_relation_not_of_its_segment(limit: int, expected: range) -> None:
    assert read(10, LOOSE, Changed(limit, blocks()), first=100) == [*expected]


def test_1_what_was_read_for_its_length_is_not_read_again_for_being_listed() -> None:
    assert read(10, BASE, Changed(7, blocks(2, 8))) == [2, 7, 8, 9]


def test_3_what_lies_beyond_the_bases_end_is_read() -> None:
    assert read(12, BASE, None) == [10, 11]
    assert read(12, BASE, Changed(None, blocks(3))) == [3, 10, 11]


def test_4_what_is_listed_is_read_and_the_rest_is_not() -> None:
    assert read(10, BASE, Changed(None, blocks(0, 4, 9, 10, 50))) == [0, 4, 9]
    assert read(10, BASE, Changed(None, blocks(4, 99, 100, 109, 110)), first=100) == [0, 9]


def test_a_file_that_nothing_names_is_kept_unless_its_length_differs() -> None:
    assert by_summaries(10, 0, BASE, None).how is How.KEPT
    assert by_summaries(10, 0, BASE, Changed(None, blocks(12))).how is How.KEPT
    shorter = by_summaries(7, 0, BASE, None)
    assert shorter.how is How.PAGES and not len(shorter.read)


def test_a_file_that_is_not_in_the_base_is_read_whole() -> None:
    for choice in (by_summaries(3, 0, None, None), by_scan(3, None)):
        assert (choice.how, choice.read.tolist(), choice.why) == (How.WHOLE, [0, 1, 2], "not in the base")


@pytest.mark.parametrize(
    ("held", "listed", "how"), [(10, 5, How.PAGES), (10, 6, How.WHOLE), (15, 0, How.KEPT), (15, 1, How.WHOLE)]
)
def test_a_file_whose_frames_would_hold_half_as_much_again_is_read_whole(
    held: int, listed: int, how: How
) -> None:
    assert by_summaries(10, 0, InBase(10, held), Changed(None, blocks(*range(listed)))).how is how


def test_in_a_scan_all_pages_are_read() -> None:
    assert by_scan(12, BASE).read.tolist() == [*range(12)]
    assert by_scan(10, InBase(10, 16)).how is How.WHOLE


@pytest.mark.parametrize(
    ("lsn", "page", "unmoved"),
    [(1, 0, True), (99, 9, True), (100, 0, False), (101, 0, False), (0, 0, False), (1, 10, False)],
)
def test_5_in_a_scan_a_page_is_the_bases_by_an_lsn_before_its_start_that_is_not_0(
    lsn: int, page: int, unmoved: bool
) -> None:
    assert is_unmoved(np.array([lsn], np.uint64), blocks(page), 10, 100, blocks()).tolist() == [unmoved]


@dataclass
class Fork:
    """A relation fork as PostgreSQL treats it. A page is (content, LSN); a new one of bulk extension is in no WAL."""

    pages: list[tuple[int, int]]
    lsn: int
    listed: set[int] = field(default_factory=set)
    limit: int | None = None

    def write(self, block: int) -> None:
        self.lsn += 1
        self.pages += [(0, 0)] * (block + 1 - len(self.pages))
        self.pages[block] = (self.lsn, self.lsn)
        self.listed.add(block)

    def cut(self, length: int) -> None:
        self.lsn += 1
        if length < len(self.pages):
            del self.pages[length:]
            self.limit = length if self.limit is None else min(self.limit, length)

    def extend(self, number: int) -> None:
        self.pages += [(0, 0)] * number


actions = st.lists(
    st.tuples(st.sampled_from(["write", "cut", "extend"]), st.integers(0, 14)), min_size=1, max_size=12
)


def live(fork: Fork, done: list[tuple[str, int]]) -> None:
    for name, number in done:
        {"write": fork.write, "cut": fork.cut, "extend": fork.extend}[name](number)


@given(actions, actions, st.sampled_from([1, 4, 100]))
@settings(max_examples=400, deadline=None)
def test_whatever_became_of_a_relation_its_snapshot_is_what_it_is(
    before: list[tuple[str, int]], since: list[tuple[str, int]], segment: int
) -> None:
    """By summaries and by scan alike: pages of the base, with what was read laid over them."""
    fork = Fork([], 10)
    live(fork, before)
    base, start = list(fork.pages), fork.lsn + 1
    fork.listed, fork.limit, fork.lsn = set(), None, start
    live(fork, since)
    changed = Changed(fork.limit, blocks(*sorted(fork.listed)))
    for first in range(0, len(fork.pages), segment):
        here, then = fork.pages[first : first + segment], base[first : first + segment]
        inside = InBase(len(then), 0) if then else None
        chosen = by_summaries(len(here), first, inside, changed).read.tolist()
        assert [here[n] if n in chosen else then[n] for n in range(len(here))] == here
        lsns = np.array([lsn for _, lsn in here], np.uint64)
        unmoved = is_unmoved(lsns, np.arange(len(here), dtype=np.uint32), len(then), start, blocks())
        assert [then[n] if unmoved[n] else here[n] for n in range(len(here))] == here
