"""Whether a base is of this node's very history, and its pages like those of today: one doubt, one test."""

from dataclasses import replace
from typing import Any

import pytest

from stillhouse.domain.base_choice import Offer, offer_base
from stillhouse.node.capture.ancestry import why_another_history, why_no_scan, why_other_pages
from stillhouse.postgres.wal.lineage import Mark
from stillhouse.postgres.wal.lsn import format_lsn
from stillhouse.postgres.wal.summaries import follow
from stillhouse.postgres.wal.timelines import History, Stretch, parse
from stillhouse.repository.format.root import RootNode
from support.data_directories.fake_tree import FACTS

CUT, START = 1000, 2000
HEAD: Any = {
    "cut": {"lsn": CUT},
    "start_lsn": 900,
    "lineage": "a",
    "token": "t",
    "system_identifier": FACTS.system_identifier,
    "timeline": FACTS.timeline,
    "pg_version_num": FACTS.version_num,
    "block_size": FACTS.block_size,
    "segment_blocks": FACTS.segment_blocks,
    "checksum_version": 1,
    "hints_logged": True,
    "postmaster_started": FACTS.postmaster_started,
}
PART: Any = {**HEAD, "cut": None, "reached": CUT, "token": "u"}
TOKENS = frozenset({"s", "t"})
MARK = Mark("a", CUT, TOKENS)
NOW = replace(FACTS, checksum_version=1)
STAYED = parse(FACTS.timeline, "")


def judged(
    head: Any, mark: Mark | None = MARK, lineage: str = "a", start: int = START, history: History = STAYED
) -> str:
    return why_another_history(head, mark, lineage, start, NOW, history)


def test_an_unbroken_history_is_one() -> None:
    assert judged(HEAD) == judged(PART) == "" == why_other_pages(HEAD, NOW) == why_no_scan(HEAD, NOW)


DOUBTS: dict[str, tuple[dict[str, Any], str]] = {
    "a node that was never captured, or whose mark is gone": ({"mark": None}, "lacks the mark"),
    "a clone, whose data bear its source's lineage": ({"lineage": "b"}, "another history"),
    "data of a clone in this node's place": ({"mark": Mark("b", CUT, TOKENS)}, "another history"),
    "storage that was set back to before the cut": ({"mark": Mark("a", CUT - 1, TOKENS)}, "set back"),
    "WAL that was set back": ({"start": CUT - 1}, "ends later in the WAL"),
}


@pytest.mark.parametrize("head", [HEAD, PART], ids=["base", "part"])
@pytest.mark.parametrize("doubt", DOUBTS)
def test_any_doubt_about_the_node_makes_the_capture_whole(head: Any, doubt: str) -> None:
    other, why = DOUBTS[doubt]
    assert why in judged(head, **other)


@pytest.mark.parametrize("head", [HEAD, PART], ids=["base", "part"])
@pytest.mark.parametrize(
    ("field", "other"),
    [("lineage", "b"), ("system_identifier", 8), ("timeline", 2)],
    ids=["a base of another lineage", "another server", "a timeline that the node never was on"],
)
def test_any_doubt_about_the_base_makes_the_capture_whole(head: Any, field: str, other: object) -> None:
    assert judged({**head, field: other})


@pytest.mark.parametrize("head", [HEAD, PART], ids=["base", "part"])
def test_after_a_failover_the_history_tells_whether_the_standby_had_all_of_the_base(head: Any) -> None:
    """Its mark says so too, but a failover between the cut and the mark puts it on a server without the cut."""
    here, new = FACTS.timeline, FACTS.timeline + 1
    assert judged(head, history=(Stretch(here, 0, CUT), Stretch(new, CUT))) == ""
    missed = judged(head, history=(Stretch(here, 0, CUT - 1), Stretch(new, CUT - 1)))
    assert f"the base ends at {format_lsn(CUT)} on timeline {here}" in missed
    assert f"the node left that at {format_lsn(CUT - 1)}" in missed


def test_storage_that_was_set_back_and_has_come_as_far_again_does_not_know_the_base() -> None:
    """Snapshots taken since without a base, and deleted again, have brought its mark to any LSN."""
    assert "does not know the base" in judged(HEAD, mark=Mark("a", CUT + 9, frozenset("s")))
    assert judged({name: value for name, value in HEAD.items() if name != "token"})


def test_a_part_is_known_by_the_youngest_page_it_may_hold_not_by_its_start() -> None:
    """Storage that was set back to a moment after the part's start lacks changes that the part has seen."""
    assert "set back" in judged({**PART, "reached": CUT + 1})
    assert "set back" in judged({name: value for name, value in PART.items() if name != "reached"})


@pytest.mark.parametrize(
    ("field", "other"),
    [("block_size", 4096), ("segment_blocks", 1), ("checksum_version", 0), ("pg_version_num", 170006)],
)
def test_pages_of_another_make_are_no_base(field: str, other: object) -> None:
    head: Any = {**HEAD, field: other}
    assert why_other_pages(head, NOW)


@pytest.mark.parametrize(
    ("head", "facts", "why"),
    [
        ({}, replace(FACTS, checksum_version=0), "without a trace"),
        ({"hints_logged": False}, NOW, "without a trace"),
        ({"hints_logged": None}, NOW, "without a trace"),
        ({"postmaster_started": "2"}, NOW, "restarted"),
        ({"postmaster_started": None}, NOW, "restarted"),
    ],
    ids=[
        "hints are not logged",
        "they were not",
        "not known whether they were",
        "another run",
        "not known which run",
    ],
)
def test_a_scan_is_trusted_only_where_no_page_changes_without_its_lsn(
    head: Any, facts: Any, why: str
) -> None:
    assert why in why_no_scan(HEAD | head, facts)


def test_hints_may_be_logged_without_checksums() -> None:
    assert why_no_scan(HEAD, replace(FACTS, wal_log_hints=True)) == ""


@pytest.mark.parametrize(
    ("ranges", "reached"),
    [
        ([(900, 1200), (1200, 2000)], 2000),
        ([(900, 1200), (1200, 2100)], 2100),
        ([(900, 2000), (2000, 3000)], 2000),
        ([(900, 1200), (1300, 2000)], 1200),
        ([(900, 1200)], 1200),
        ([(800, 2000)], 900),
        ([(901, 2000)], 900),
        ([], 900),
    ],
    ids=[
        "without a gap", "beyond", "no further than needed", "a gap", "an end too soon",
        "none begins at the base's start", "one begins just after", "none at all",
    ],
)  # fmt: skip
def test_summaries_follow_one_another_from_the_very_start_of_the_base(
    ranges: list[tuple[int, int]], reached: int
) -> None:
    assert end_of(follow(ranges, 900, START)) == reached


def test_summaries_follow_one_another_in_whatever_order_the_server_names_them() -> None:
    ranges = [(900, 1000), (1000, 1200), (1200, 2000)]
    assert follow(reversed(ranges), 900, START) == ranges


def end_of(chain: list[tuple[int, int]]) -> int:
    return chain[-1][1] if chain else 900


def newest(node_id: str = "n", lineage: str = "a", depth: int = 3) -> list[RootNode]:
    known = RootNode(name="cn", manifest="m", size=1, hash="h")
    return [replace(known, node_id=node_id, lineage=lineage, depth=depth)]


@pytest.mark.parametrize(
    ("nodes", "full", "why"),
    [
        (None, False, "no earlier snapshot"),
        (newest(node_id="other"), False, "does not have this node"),
        (newest(lineage="b"), False, "another history"),
        (newest(), True, "full snapshot was asked for"),
    ],
)
def test_no_base_is_offered(nodes: list[RootNode] | None, full: bool, why: str) -> None:
    offer = offer_base(nodes, "n", "a", whole_every=16, is_full=full)
    assert offer.manifest is None and offer.depth == 0 and why in offer.why


def test_every_16th_capture_reads_all_and_is_the_first_of_the_next_16() -> None:
    offer = offer_base(newest(depth=15), "n", "a", whole_every=16, is_full=False)
    assert offer == Offer(("m", 1, "h"), 0, reads_all=True)


def test_the_newest_snapshots_manifest_is_offered_up_to_the_15th_after_a_whole_one() -> None:
    assert offer_base(newest(depth=14), "n", "a", whole_every=16, is_full=False) == Offer(("m", 1, "h"), 15)
