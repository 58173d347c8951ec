"""The session of a capture: its order, the ways it may end, and what it leaves behind, which is nothing."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import CaptureFailed, CaptureInterrupted, StoreUnavailable
from stillhouse.postgres.files import control_file
from stillhouse.postgres.host import server
from stillhouse.warehouse.clone import inspection
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers.warehouses import rows
from support.snapshots.captures import (
    SLOTS,
    Clone,
    Moments,
    StoreAround,
    Vault,
    capture_cluster,
    files,
    planned_clone,
    restore_files,
    restored_cluster,
    restored_files,
)
from support.snapshots.cuts import ask, superuser, tell

pytest_plugins = ["support.snapshots.capture_fixtures"]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("captures_leave_nothing")]

KEPT = [(5000,)]
COUNT_KEPT = "SELECT count(*) FROM public.kept"


def test_the_slot_is_there_before_the_backup_starts(house: Cluster, node: Node, vault: Vault) -> None:
    slots: list[list[object]] = []
    query = "SELECT restart_lsn IS NOT NULL FROM pg_replication_slots"
    capture_cluster(house, vault, Moments(starting=lambda: slots.append([*rows(node, query)])))
    assert slots == [[(True,)]]


def test_a_failing_store_ends_the_attempt(house: Cluster, vault: Vault) -> None:
    def fail(key: str) -> None:
        raise StoreUnavailable("the store is down")

    with pytest.raises(StoreUnavailable):
        capture_cluster(house, Vault(StoreAround(vault.store, fail), vault.keys))


def test_a_session_killed_in_mid_copy_ends_the_attempt(house: Cluster, node: Node, vault: Vault) -> None:
    with pytest.raises(CaptureInterrupted, match="somebody ended the backup's session on node cn"):
        capture_cluster(
            house, vault, Moments(listed=lambda: kill_sessions(node, "stillhouse stillhouse_test_%"))
        )


def test_a_session_that_only_asks_may_be_killed(site: Site, house: Cluster, node: Node, vault: Vault) -> None:
    shot = capture_cluster(house, vault, Moments(listed=lambda: kill_sessions(node, "stillhouse wal")))
    with restored_cluster(site, house, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, COUNT_KEPT) == KEPT


def kill_sessions(node: Node, name: str) -> None:
    assert rows(
        node,
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE '{name}'",
    )


def test_a_standby_is_refused(site: Site, house: Cluster, vault: Vault) -> None:
    shot = capture_cluster(house, vault)
    with planned_clone(site, house) as clone:
        restore_files(site, clone, shot, vault)
        standby = clone.cluster.coordinator
        data = Path(standby.directory, "pgdata")
        (data / "recovery.signal").rename(data / "standby.signal")
        server.start(site.binaries, standby, {"listen_addresses": "", "hot_standby": "on"}, locked=True)
        with pytest.raises(CaptureFailed, match="is a standby"):
            capture_cluster(clone.cluster, vault)
        assert rows(standby, SLOTS) == []


def test_10_a_setting_that_no_attempt_gets_around_is_refused_by_name(
    house: Cluster, node: Node, vault: Vault
) -> None:
    with superuser(node) as connection:
        tell(connection, "ALTER SYSTEM SET max_slot_wal_keep_size = 0")
        tell(connection, "SELECT pg_reload_conf()")
        until(lambda: ask(connection, "SHOW max_slot_wal_keep_size") == [("0",)], 10)
        try:
            with pytest.raises(CaptureFailed, match="max_slot_wal_keep_size is 0") as refused:
                capture_cluster(house, vault)
        finally:
            tell(connection, "ALTER SYSTEM RESET max_slot_wal_keep_size")
            tell(connection, "SELECT pg_reload_conf()")
    assert "set max_slot_wal_keep_size = -1" in refused.value.hint and not refused.value.retryable


def test_the_backup_label_is_stored_byte_for_byte(site: Site, house: Cluster, vault: Vault) -> None:
    moments = Moments()
    shot = capture_cluster(house, vault, moments)
    assert moments.stopped is not None
    with restored_files(site, house, shot, vault) as directories:
        assert (directories["cn"] / "backup_label").read_bytes() == moments.stopped.backup_label.encode()


def test_pg_control_is_read_last_and_again_when_torn(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    """Torn by hand: at the second look the file is whole again, as when the server has done writing it."""
    control = Path(node.directory, "pgdata", "global", "pg_control")
    whole = control.read_bytes()
    torn = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    read: list[str] = []

    def tear(path: str) -> None:
        read.append(path)
        if path == "global/pg_control":
            control.write_bytes(torn if read.count(path) == 1 else whole)

    shot = capture_cluster(house, vault, Moments(opening=tear))
    assert read[-2:] == ["global/pg_control"] * 2 and read.count("global/pg_control") == 2
    with restored_files(site, house, shot, vault) as directories:
        assert control_file.is_whole((directories["cn"] / "global/pg_control").read_bytes())


@pytest.fixture
def prepare(node: Node) -> Callable[[str], None]:
    with superuser(node) as connection:
        tell(connection, "CREATE TABLE IF NOT EXISTS public.promised (what text)")

    def prepare(name: str) -> None:
        with superuser(node) as connection:
            tell(connection, "BEGIN")
            tell(connection, f"INSERT INTO public.promised VALUES ('{name}')")
            tell(connection, f"PREPARE TRANSACTION '{name}'")

    return prepare


def test_prepared_transactions_come_back_and_wait_for_their_owner(
    site: Site, house: Cluster, node: Node, vault: Vault, prepare: Callable[[str], None]
) -> None:
    """The second is prepared after the start LSN and written out by a checkpoint before its file is copied.

    Recovery would take that file for one of the future; should it fail to remove it, it would skip the redo.
    """

    def in_the_race() -> None:
        prepare("second")
        with superuser(node) as connection:
            tell(connection, "CHECKPOINT")
        assert len([*Path(node.directory, "pgdata", "pg_twophase").iterdir()]) == 2

    seen: list[str] = []

    def look(clone: Clone) -> None:
        seen.extend(inspection.inspect(clone.cluster.coordinator))

    prepare("first")
    shot = capture_cluster(house, vault, Moments(started=in_the_race, ready=lambda: prepare("third")))
    names = ["first", "second", "third"]
    try:
        assert [path for path in files(vault, shot.captured["cn"]) if path.startswith("pg_twophase/")] == [
            twophase_file(node, "first")
        ]
        with restored_cluster(site, house, shot, vault, in_quarantine=look) as clone:
            restored = clone.cluster.coordinator
            assert [name for name in names for sentence in seen if f"'{name}'" in sentence] == names
            assert rows(restored, "SELECT gid FROM pg_prepared_xacts ORDER BY 1") == [
                (name,) for name in names
            ]
            with superuser(restored) as connection:
                for name in names:
                    tell(connection, f"COMMIT PREPARED '{name}'")
            assert rows(restored, "SELECT what FROM public.promised ORDER BY 1") == [
                (name,) for name in names
            ]
    finally:
        with superuser(node) as connection:
            for name in names:
                tell(connection, f"ROLLBACK PREPARED '{name}'")


def twophase_file(node: Node, name: str) -> str:
    """Named by the full transaction id since PostgreSQL 17, before that by its lower half."""
    ((xid, version),) = rows(
        node,
        "SELECT transaction::text::bigint, current_setting('server_version_num')::int FROM pg_prepared_xacts"
        f" WHERE gid = '{name}'",
    )
    return f"pg_twophase/{xid:016X}" if version >= 170000 else f"pg_twophase/{xid:08X}"


MOVES = {
    "tablespace created": ["CREATE TABLESPACE away LOCATION '{away}'"],
    "tablespace created and dropped": ["CREATE TABLESPACE away LOCATION '{away}'", "DROP TABLESPACE away"],
    "database made by file copy": ["CREATE DATABASE made STRATEGY file_copy"],
    "database made and dropped": ["CREATE DATABASE made STRATEGY file_copy", "DROP DATABASE made"],
    "database moved": ["ALTER DATABASE settled SET TABLESPACE near"],
    "database moved there and back": [
        "ALTER DATABASE settled SET TABLESPACE near",
        "ALTER DATABASE settled SET TABLESPACE pg_default",
    ],
}


@pytest.fixture
def away(node: Node) -> Iterator[str]:
    """A directory for a new tablespace, beside a tablespace `near` and a database `settled`."""
    near, away = (Path(node.directory, "tablespaces", name) for name in ("near", "away"))
    owner = Path(node.directory).stat()
    for place in (near, away):
        place.mkdir()
        os.chown(place, owner.st_uid, owner.st_gid)
    with superuser(node) as connection:
        tell(connection, f"CREATE TABLESPACE near LOCATION '{near}'")
        tell(connection, "CREATE DATABASE settled")
        yield str(away)
        for thing in ("DATABASE IF EXISTS settled", "DATABASE IF EXISTS made"):
            tell(connection, f"DROP {thing} (FORCE)")
        tell(connection, "DROP TABLESPACE IF EXISTS away")
        tell(connection, "DROP TABLESPACE near")
    for place in (near, away):
        place.rmdir()


@pytest.mark.parametrize("moment", ["started", "ready"])
@pytest.mark.parametrize("commands", MOVES.values(), ids=MOVES.keys())
def test_files_that_redo_would_copy_from_their_old_place_end_the_attempt(
    house: Cluster, node: Node, vault: Vault, away: str, commands: list[str], moment: str
) -> None:
    def move() -> None:
        with superuser(node) as connection:
            for command in commands:
                tell(connection, command.format(away=away))

    moments = Moments(started=move) if moment == "started" else Moments(ready=move)
    with pytest.raises(CaptureInterrupted, match="while the node was copied"):
        capture_cluster(house, vault, moments)
