"""The plan to shut a gate: which tables, by whom, whether the server can bear it, how long."""

import pytest

from stillhouse.errors import CutFailed, StateForbids
from stillhouse.warehouse.gate.lock_plan import (
    Expected,
    Gated,
    LockTable,
    check_room,
    check_time,
    lock_seconds,
    roots,
    sessions_for,
    shares,
)

TABLES = [Gated(oid, f"t{oid}", foreign=False, locks=9) for oid in range(1000)]


def test_a_foreign_table_is_gated_at_the_root_of_its_partitions_with_all_that_is_below() -> None:
    # 1 has 2 and 3; 3 has 4 and 5. 2, 4 and 5 are foreign tables; so is 9, which is nobody's.
    inherits = [(2, 1), (3, 1), (4, 3), (5, 3)]
    assert roots([2, 4, 5, 9], inherits, {1, 3}) == {1: 5, 9: 1}


def test_a_parent_that_is_not_partitioned_is_no_root() -> None:
    assert roots([2], [(2, 1)], frozenset()) == {2: 1}


def test_each_table_is_one_sessions_and_their_order_stays() -> None:
    runs = shares(TABLES, sessions_for(TABLES))
    assert len(runs) == 4
    assert [table for run in runs for table in run] == TABLES
    assert {len(run) for run in runs} == {250}


def test_a_few_tables_are_one_sessions_and_no_table_is_one_as_well() -> None:
    assert shares(TABLES[:3], sessions_for(TABLES[:3])) == [tuple(TABLES[:3])]
    assert shares([], sessions_for([])) == [()]


def test_more_locks_than_the_server_can_bear_are_refused_with_the_number_it_needs() -> None:
    with pytest.raises(StateForbids, match=r"needs 9000 locks .* made for 10496") as refused:
        check_room(9000, LockTable(per_transaction=64, connections=100, prepared=64))
    assert "max_locks_per_transaction to 75 or more" in refused.value.hint
    check_room(9000, LockTable(per_transaction=75, connections=100, prepared=64))


def test_locks_that_others_hold_now_are_waited_for() -> None:
    with pytest.raises(CutFailed, match="and 5000 are in use"):
        check_room(7000, LockTable(per_transaction=64, connections=100, prepared=64, in_use=5000))


def test_locks_that_would_take_half_of_deadlock_timeout_are_refused_with_the_number() -> None:
    check_time(Expected(10, 90, lock_seconds=0.5, hold_seconds=9.0, longest_lock_seconds=0.5))
    with pytest.raises(CutFailed, match=r"locking 10 .* would take 0\.61 s, and may take 0\.5 s") as refused:
        check_time(Expected(10, 90, lock_seconds=0.61, hold_seconds=0.0, longest_lock_seconds=0.5))
    assert "deadlock_timeout on the coordinator to 2 s" in refused.value.hint


def test_no_deadlock_timeout_is_named_that_would_not_help() -> None:
    """Our own transactions end after 5 s, however large it is."""
    with pytest.raises(CutFailed, match="may take 4 s") as refused:
        check_time(Expected(10, 90, lock_seconds=4.1, hold_seconds=0.0, longest_lock_seconds=4.0))
    assert "deadlock_timeout" not in refused.value.hint


def test_lone_foreign_tables_are_added_to_what_was_rehearsed() -> None:
    lone = [Gated(1, "lone", foreign=True)]
    assert lock_seconds(lone * 1000, 0.0, 1.0) == pytest.approx(0.025)
    assert lock_seconds(TABLES, 0.03, 0.000002) == pytest.approx(0.03 + 9000 * 0.000002)
