"""WAL beside the copy: followed from the first minute, let go once it is durable, never more than is allowed."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_hex
from stillhouse.errors import CaptureFailed, CaptureInterrupted
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.task import Captured
from stillhouse.node.capture.wal_follower import WalFollower
from stillhouse.postgres.wal.backup import BackupSession, facts
from stillhouse.postgres.wal.feed import SegmentFiles, wal_tree
from stillhouse.postgres.wal.lsn import parse_lsn, segment_name
from stillhouse.postgres.wal.segments import WalSource
from stillhouse.postgres.wal.slot import WalPosition
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers.warehouses import MakeWarehouse, rows
from support.snapshots.captures import (
    SLOTS,
    Moments,
    StoreAround,
    Vault,
    capture_cluster,
    lines,
    restored_cluster,
    restored_files,
)
from support.snapshots.cuts import ask, superuser, tell

pytest_plugins = ["support.snapshots.capture_fixtures"]
pytestmark = pytest.mark.usefixtures("captures_leave_nothing")

SEGMENT = 16 << 20


def fill_segments(node: Node, number: int) -> None:
    """WAL over `number` segments, and a checkpoint that removes what nobody holds."""
    with superuser(node) as connection:
        for _ in range(number):
            tell(connection, "SELECT pg_logical_emit_message(false, 'test', repeat('x', 100000))")
            tell(connection, "SELECT pg_switch_wal()")
        tell(connection, "CHECKPOINT")


def segments(node: Node) -> set[str]:
    return {path.name for path in Path(node.directory, "pgdata", "pg_wal").glob("[0-9A-F]" * 24)}


def test_wal_that_is_durable_is_removed_at_home_while_the_copy_still_runs(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    moments = Moments()
    let_go: list[str] = []

    def follow() -> None:
        first = segment_name(1, moments.start_lsn, SEGMENT)
        fill_segments(node, 4)
        until(lambda: is_gone(node, first), 20)
        let_go.append(first)

    moments.listed = follow
    shot = capture_cluster(house, vault, moments)
    assert let_go == [wal_lines(vault, shot.captured["cn"])[0]["path"]]
    with restored_cluster(site, house, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, "SELECT count(*) FROM public.kept") == [(5000,)]


def is_gone(node: Node, segment: str) -> bool:
    rows(node, "SELECT 1 FROM pg_switch_wal()")
    with superuser(node) as connection:
        tell(connection, "CHECKPOINT")
    return segment not in segments(node)


def wal_lines(vault: Vault, captured: Captured) -> list[dict[str, str]]:
    return [line for line in lines(vault, captured) if line["t"] == "wal"]


@contextmanager
def hanging(vault: Vault) -> Iterator[tuple[Vault, threading.Event]]:
    """A store that takes nothing until the event is set."""
    awake = threading.Event()
    try:
        yield Vault(StoreAround(vault.store, lambda key: check(awake.wait(60))), vault.keys), awake
    finally:
        awake.set()


def check(in_time: bool) -> None:
    assert in_time


def test_wal_is_let_go_of_only_once_it_is_durable(house: Cluster, node: Node, vault: Vault) -> None:
    """While the listing is made, the follower alone writes to the store: its first pack is on its way."""
    writing, awake = threading.Event(), threading.Event()
    held_from: list[int] = []

    def hang(key: str) -> None:
        writing.set()
        check(awake.wait(60))

    moments = Moments()

    def look() -> None:
        fill_segments(node, 3)
        check(writing.wait(60))
        ((restart,),) = rows(node, "SELECT restart_lsn::text FROM pg_replication_slots")
        held_from.append(parse_lsn(restart))
        awake.set()

    moments.listed = look
    capture_cluster(house, Vault(StoreAround(vault.store, hang), vault.keys), moments)
    assert held_from[0] <= moments.start_lsn


def test_the_watchdog_ends_the_session_before_a_hanging_store_fills_the_disk(
    house: Cluster, node: Node, vault: Vault
) -> None:
    with hanging(vault) as (asleep, awake):

        def overrun() -> None:
            fill_segments(node, 4)
            until(lambda: rows(node, SLOTS) == [], 20)
            awake.set()

        with pytest.raises(CaptureInterrupted, match="bytes of WAL were retained"):
            capture_cluster(house, asleep, Moments(listed=overrun), wal_retention_bytes=2 * SEGMENT)


def test_a_slot_that_the_server_invalidates_ends_the_attempt(
    house: Cluster, node: Node, vault: Vault
) -> None:
    with hanging(vault) as (asleep, awake), setting(node, "max_slot_wal_keep_size", "20MB"):

        def overrun() -> None:
            fill_segments(node, 4)
            until(lambda: checkpoint(node) == [], 20)
            awake.set()

        with pytest.raises(CaptureInterrupted, match="max_slot_wal_keep_size is 20 MB"):
            capture_cluster(house, asleep, Moments(listed=overrun))


def checkpoint(node: Node) -> list[tuple[object, ...]]:
    """Run a checkpoint, at which the server looks at its slots; returns those that are left."""
    with superuser(node) as connection:
        tell(connection, "CHECKPOINT")
    return rows(node, SLOTS)


@contextmanager
def setting(node: Node, name: str, value: str) -> Iterator[None]:
    with superuser(node) as connection:
        tell(connection, f"ALTER SYSTEM SET {name} = '{value}'")
        tell(connection, "SELECT pg_reload_conf()")
        until(lambda: rows(node, f"SHOW {name}") == [(value,)], 10)
        yield
        tell(connection, f"ALTER SYSTEM RESET {name}")
        tell(connection, "SELECT pg_reload_conf()")
        until(lambda: rows(node, f"SHOW {name}") != [(value,)], 10)


@pytest.fixture(scope="module")
def stranger(make_warehouse: MakeWarehouse) -> Node:
    """Another server, whose WAL has been through the same addresses."""
    cluster, _ = make_warehouse(1, "stranger")
    return cluster.coordinator


@pytest.mark.parametrize("foreign", ["of another server", "of another place"])
def test_a_foreign_segment_is_refused(
    house: Cluster, node: Node, stranger: Node, vault: Vault, tmp_path: Path, foreign: str
) -> None:
    fill_segments(node, 1)
    with (
        closing(BackupSession(node, f"stillhouse_test_{new_hex()}_1")) as backup,
        closing(WalPosition(node)) as position,
    ):
        with superuser(node) as connection:
            known = facts(connection)
            (start,) = ask(connection, "SELECT restart_lsn::text FROM pg_replication_slots")[0]
        lsn = parse_lsn(start)
        name = segment_name(known.timeline, lsn, SEGMENT)
        fill_segments(node, 2)
        if foreign == "of another server":
            until(lambda: has_written(stranger, lsn + SEGMENT), 30)
            wrong = Path(stranger.directory, "pgdata", "pg_wal", name)
        else:
            following = segment_name(known.timeline, lsn + SEGMENT, SEGMENT)
            wrong = Path(node.directory, "pgdata", "pg_wal", following)
        (tmp_path / "pg_wal").mkdir()
        (tmp_path / "pg_wal" / name).write_bytes(wrong.read_bytes())
        source = WalSource(known.system_identifier, known.timeline, known.wal_segment_size)
        feed = SegmentFiles(backup, position, wal_tree(tmp_path, None))
        follower = WalFollower(feed, lsn, source, vault.store, vault.keys, PackLedger())
        with pytest.raises(CaptureFailed, match=r"another server|another place"):
            follower.done(30)
        follower.stop()


def has_written(node: Node, lsn: int) -> bool:
    """Whether the server is past `lsn`; it is driven there, and keeps what it writes."""
    with superuser(node) as connection:
        tell(connection, "ALTER SYSTEM SET wal_keep_size = '1GB'")
        tell(connection, "SELECT pg_reload_conf()")
        tell(connection, "SELECT pg_logical_emit_message(false, 'test', 'x', true)")
        tell(connection, "SELECT pg_switch_wal()")
        ((now,),) = ask(connection, "SELECT pg_current_wal_flush_lsn()::text")
    return parse_lsn(now) >= lsn


def test_the_last_segment_is_stored_whole_with_zeros_behind_the_cut(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    moments = Moments(after_cut=lambda: tell_more(node))
    shot = capture_cluster(house, vault, moments)
    (point,) = shot.cut.points
    last = segment_name(point.timeline, point.lsn, SEGMENT)
    at_home = Path(node.directory, "pgdata", "pg_wal", last).read_bytes()
    with restored_files(site, house, shot, vault) as restored:
        found = {path.name: path.read_bytes() for path in (restored["cn"] / "pg_wal").iterdir()}
    assert max(found) == last and {len(content) for content in found.values()} == {SEGMENT}
    cut = point.lsn % SEGMENT
    assert found[last][:cut] == at_home[:cut]
    assert any(at_home[cut:]) and not any(found[last][cut:])


def tell_more(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, "SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
