"""Rules 5 to 9 of the cut on a real coordinator and two data nodes, and the whole of it under load."""

import threading
from typing import Any

import psycopg
import pytest

from stillhouse.errors import Cancelled, CaptureFailed, CutFailed
from stillhouse.warehouse.cut import cut
from stillhouse.warehouse.gate import gate
from support.databases.writers import Bank, distribute, until, writing
from support.snapshots.cuts import OUR_SESSIONS, ask, superuser, take

pytest_plugins = ["support.snapshots.cut_fixtures"]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("nothing_left_behind")]

SEGMENT = 16 << 20


def test_5_the_points_name_is_fresh_at_every_try(bank: Bank, during_hold: Any) -> None:
    def fail(number: int) -> None:
        if number < 3:
            raise CutFailed("asked for by the test")

    names = during_hold(fail)
    taken = take(bank)
    assert len({*names}) == 3
    assert {point.name for point in taken.points} == {names[-1]}


@pytest.mark.parametrize("prefix", ["p", "stillhouse_" + "x" * 80])
def test_5_a_name_is_as_long_as_postgresql_allows_and_never_the_same(prefix: str) -> None:
    names = {cut.restore_point_name(prefix, number) for number in (1, 1, 10_000)}
    assert len(names) == 3
    assert all(len(name) <= 63 and name.startswith(prefix[:11]) for name in names)


def test_6_a_transaction_id_of_ours_on_a_data_node_makes_it_start_again(
    bank: Bank, during_hold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a commit, sent by a session of the coordinator that is gone, were still on its way."""
    with bank.connect(bank.cluster.data_nodes[1]) as straggler:

        def write(number: int) -> None:
            if number == 1:
                straggler.execute("BEGIN")
                straggler.execute("SELECT pg_current_xact_id()")

        def end(_: int) -> float:
            straggler.execute("COMMIT")
            return 0.0

        during_hold(write)
        monkeypatch.setattr(cut, "back_off", end)
        assert take(bank).tries == 2


def test_6_a_straggler_is_seen_before_any_point_is_made(bank: Bank, during_hold: Any) -> None:
    """A commit that ends between the nodes' points would tear the cut, and be gone at a later look."""
    names = during_hold(lambda _: None)
    with bank.connect(bank.cluster.data_nodes[1]) as straggler, straggler.transaction():
        ((pid,),) = ask(straggler, "SELECT pg_backend_pid()")
        straggler.execute("SELECT pg_current_xact_id()")
        with pytest.raises(CutFailed, match=rf"node {bank.cluster.data_nodes[1].name} for pid {pid}"):
            take(bank, deadline=1)
    assert names == []


def test_6_writers_that_lock_rows_first_do_not_starve_the_cut(bank: Bank) -> None:
    with writing(bank, 8, lock_first=True) as writers:
        tries = [take(bank).tries for _ in range(3)]
    assert max(tries) < 20
    assert [writer.errors for writer in writers] == [[]] * 8


def test_7_a_gate_session_that_dies_makes_the_try_invalid(bank: Bank, during_hold: Any) -> None:
    def kill(number: int) -> None:
        if number == 1:
            with superuser(bank.cluster.coordinator, bank.database) as admin:
                holding = f"{OUR_SESSIONS} AND datname = '{bank.database}' AND state = 'idle in transaction'"
                ((pid,),) = ask(admin, holding)
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
                until(lambda: not ask(admin, holding), 10)

    names = during_hold(kill)
    assert take(bank).tries == 2
    assert len(names) == 2


def test_8_a_node_that_restarts_between_point_and_flush_makes_the_try_invalid(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart ends its sessions; that is all the cut can see of it."""
    really = gate.reopen

    def reopen(*given: Any) -> None:
        monkeypatch.setattr(gate, "reopen", really)
        really(*given)
        with superuser(bank.cluster.data_nodes[0]) as admin:
            for (pid,) in ask(admin, OUR_SESSIONS):
                admin.execute("SELECT pg_terminate_backend(%s)", [pid])
            until(lambda: not ask(admin, OUR_SESSIONS), 10)

    monkeypatch.setattr(gate, "reopen", reopen)
    assert take(bank).tries == 2


def test_8_every_point_is_on_disk_when_the_cut_returns(bank: Bank) -> None:
    for point, node in zip(take(bank).points, bank.cluster.nodes, strict=True):
        with superuser(node) as connection:
            ((flushed,),) = ask(connection, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
        assert point.node == node.id
        assert point.lsn <= flushed
        assert point.timeline == 1


def test_8_no_writer_waits_for_a_new_segment(bank: Bank) -> None:
    """A switch would leave a cut's writers with the next segment to make: 16 MiB of zeros and their fsync."""

    def written() -> list[int]:
        found = []
        for node in bank.cluster.nodes:
            with superuser(node) as connection:
                found += ask(connection, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        return [int(lsn) for (lsn,) in found]

    before = written()
    for _ in range(3):
        take(bank)
    assert all(late - early < SEGMENT for early, late in zip(before, written(), strict=True))


def test_9_a_stop_is_heeded_before_the_next_try(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "shut", lambda *_: pytest.fail("the gate was shut"))
    with pytest.raises(Cancelled):
        take(bank, should_stop=lambda: True)


def test_what_trying_again_cannot_mend_is_not_tried_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "_RESTORE_POINT", "SELECT 1 / 0, %s::text")
    with pytest.raises(CaptureFailed, match="division by zero"):
        take(bank)


def test_under_eight_writers_every_cut_comes_and_no_writer_fails(bank: Bank) -> None:
    with writing(bank, 8) as writers:
        cuts = [take(bank) for _ in range(6)]
    assert [writer.errors for writer in writers] == [[]] * 8
    assert all(0 < taken.pause_seconds < 5 for taken in cuts)
    with bank.connect() as reader:
        assert ask(reader, "SELECT sum(balance) FROM accounts") == [(bank.total,)]


def test_tables_created_altered_and_dropped_meanwhile_do_no_harm(bank: Bank) -> None:
    stop, failed = threading.Event(), list[str]()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                distribute(bank, f"churn_{number}", "id int")
                with bank.connect() as owner:
                    owner.execute(f"ALTER TABLE churn_{number} ADD COLUMN more text".encode())
                    owner.execute(f"DROP TABLE churn_{number}".encode())
            except psycopg.Error as error:
                failed.append(str(error))

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        names = {point.name for _ in range(3) for point in take(bank).points}
    finally:
        stop.set()
        churning.join(30)
    assert failed == []
    assert len(names) == 3


def test_9_what_earlier_attempts_have_waited_is_part_of_the_deadline(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One try is made in any case."""
    tries: list[int] = []

    def back_off(number: int) -> float:
        tries.append(number)
        return 0.0

    monkeypatch.setattr(cut, "back_off", back_off)
    with bank.connect(bank.cluster.data_nodes[1]) as straggler, straggler.transaction():
        straggler.execute("SELECT pg_current_xact_id()")
        with pytest.raises(CutFailed, match="within 1000 s"):
            take(bank, deadline=1000, waited_seconds=1000)
    assert tries == [1]
    assert take(bank, deadline=1000, waited_seconds=1000).tries == 1
