"""A node that is reached by connections alone: its captures come back as those of a node here, and leave nothing."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_hex
from stillhouse.domain.snapshot import Cut
from stillhouse.errors import CaptureInterrupted, CutFailed, StillhouseError
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import give
from stillhouse.postgres.readers.remote import RemoteReader
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.grants import RIGHTS, Right, missing
from stillhouse.postgres.wal.backup import facts
from stillhouse.postgres.wal.lsn import parse_lsn, segment_name
from stillhouse.postgres.wal.segments import WalSource
from stillhouse.postgres.wal.slot import WalPosition
from stillhouse.postgres.wal.stream import WalStream
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers import warehouses
from support.servers.registered import let_in, registered
from support.servers.warehouses import rows
from support.snapshots.captures import (
    SLOTS,
    Moments,
    Vault,
    capture_cluster,
    open_vault,
    restored_cluster,
    restored_files,
)
from support.snapshots.cuts import superuser, tell

pytest_plugins = ["support.servers.versions"]

OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'stillhouse%' AND usename = 'backup'"
SEGMENT = 16 << 20


@pytest.fixture(scope="module")
def house(version_site: Site) -> Iterator[Cluster]:
    cluster = warehouses.build(version_site, 1)
    with superuser(cluster.coordinator) as connection:
        tell(
            connection,
            "CREATE TABLE public.kept AS SELECT i, repeat('x', 100) AS v FROM generate_series(1, 200000) i",
        )
        tell(connection, "ALTER SYSTEM SET autovacuum = off")
        tell(connection, "SELECT pg_reload_conf()")
        tell(connection, "VACUUM (FREEZE) public.kept")
    yield cluster
    embedded.destroy(version_site, cluster.id)


@pytest.fixture(scope="module")
def node(house: Cluster) -> Node:
    return house.coordinator


@pytest.fixture(scope="module")
def there(house: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return registered(house, tmp_path_factory.mktemp("passwords"))


@pytest.fixture(scope="module")
def vault(house: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return open_vault(tmp_path_factory.mktemp("vault"), house)


@pytest.fixture(autouse=True)
def nothing_is_left(node: Node) -> Iterator[None]:
    yield
    until(lambda: rows(node, SLOTS) == [] and rows(node, OURS) == [], 10)


@pytest.fixture
def name() -> str:
    return f"stillhouse_test_{new_hex()}_1"


def fill_segments(node: Node, number: int) -> None:
    with superuser(node) as connection:
        for _ in range(number):
            tell(connection, "SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
            tell(connection, "SELECT pg_switch_wal()")


def digest(node: Node) -> list[tuple[object, ...]]:
    return rows(node, "SELECT count(*), sum(i), md5(string_agg(v, ',' ORDER BY i)) FROM public.kept")


@pytest.mark.parametrize("in_processes", [False, True], ids=["threads", "processes"])
def test_a_capture_comes_back_as_of_the_cut(
    house: Cluster, there: Cluster, node: Node, version_site: Site, vault: Vault, in_processes: bool
) -> None:
    """Changes go on while it is captured, over several segments of WAL; the last are made just before the cut."""

    def change() -> None:
        with superuser(node) as connection:
            tell(connection, "UPDATE public.kept SET v = v || 'y' WHERE i % 3 = 0")

    shot = capture_cluster(there, vault, Moments(ready=change), in_processes=in_processes)
    expected = digest(node)
    with superuser(node) as connection:
        tell(connection, "UPDATE public.kept SET v = 'later' WHERE i < 100")
    assert shot.captured["cn"].wal_bytes >= 2 * SEGMENT
    with restored_cluster(version_site, house, shot, vault) as clone:
        assert digest(clone.cluster.coordinator) == expected


def test_an_incremental_capture_reads_what_changed(
    house: Cluster, there: Cluster, node: Node, version_site: Site, vault: Vault
) -> None:
    base = capture_cluster(there, vault)
    with superuser(node) as connection:
        tell(connection, "UPDATE public.kept SET v = 'z' WHERE i % 20000 = 0")
    shot = capture_cluster(there, vault, base=base)
    captured = shot.captured["cn"]
    assert captured.base == base.captured["cn"].manifest.id, captured.whole_because
    assert captured.pages_stored < 200
    expected = digest(node)
    with restored_cluster(version_site, house, shot, vault) as clone:
        assert digest(clone.cluster.coordinator) == expected


def test_the_slot_is_the_streams_and_is_there_before_the_backup_begins(
    there: Cluster, node: Node, vault: Vault
) -> None:
    seen: list[tuple[object, ...]] = []
    query = (
        "SELECT s.temporary, s.slot_type, a.backend_type FROM pg_replication_slots s"
        " JOIN pg_stat_activity a ON a.pid = s.active_pid"
    )
    capture_cluster(there, vault, Moments(starting=lambda: seen.extend(rows(node, query))))
    assert seen == [(True, "physical", "walsender")]


ENDED = {
    "the stream": "backend_type = 'walsender'",
    "the backup's session": "application_name LIKE 'stillhouse stillhouse%' AND backend_type = 'client backend'",
    "a reader's session": "application_name = 'stillhouse files'",
}


@pytest.mark.parametrize("which", ENDED)
@pytest.mark.parametrize("moment", ["listed", "ready"])
def test_the_end_of_any_session_is_the_end_of_the_attempt(
    there: Cluster, node: Node, vault: Vault, which: str, moment: str
) -> None:
    """No cut is given, so nothing but the end of the session can end the attempt."""
    if (which, moment) == ("a reader's session", "ready"):
        pytest.skip("the files are read by then")

    def end() -> None:
        query = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'backup' AND {ENDED[which]}"
        assert rows(node, query) != []

    def no_cut(cluster: Cluster) -> Cut:
        until(lambda: rows(node, SLOTS) == [], 20)
        threading.Event().wait(1)
        raise CutFailed("no cut in this test")

    moments = Moments(listed=end) if moment == "listed" else Moments(ready=end)
    kinds = CaptureInterrupted if moment == "listed" else (CaptureInterrupted, CutFailed)
    with pytest.raises(kinds) as caught:
        capture_cluster(there, vault, moments, take=no_cut)
    assert moment == "ready" or "administrator command" in str(caught.value)


def test_wal_that_nobody_takes_stays_on_the_server_and_not_in_memory(
    there: Cluster, node: Node, name: str
) -> None:
    """The stream holds two segments, and goes on when they are released. A message may begin a third."""
    with closing(WalPosition(there.coordinator)) as position:
        fed = WalStream(there.coordinator, name, position)
        try:
            with superuser(node) as connection:
                known = facts(connection)
            start = fed.available() // SEGMENT * SEGMENT
            fed.begin(WalSource(known.system_identifier, known.timeline, SEGMENT), start)
            fill_segments(node, 5)
            until(lambda: fed.available() >= start + 2 * SEGMENT, 20)
            assert fed.available() < start + 2 * SEGMENT + (1 << 20)
            assert fed.kept() >= 4 * SEGMENT
            pass_over = Path(node.directory, "pgdata", "pg_wal")
            for number in range(4):
                at = start + number * SEGMENT
                until(lambda at=at: fed.available() >= at + SEGMENT, 20)
                image = fed.segment(at, at + SEGMENT)
                assert image.tobytes() == (pass_over / segment_name(1, at, SEGMENT)).read_bytes()
                fed.release(at + SEGMENT)
            until(lambda: restart_lsn(node) == start + 4 * SEGMENT, 20)
        finally:
            fed.close()


def test_a_segment_that_is_not_full_stays_as_it_was_taken(there: Cluster, node: Node, name: str) -> None:
    """At a cut under load the last segment is taken while WAL goes on arriving in it."""
    # A slot begins at the last checkpoint, and the stream stops while it holds as many segments as it may.
    with superuser(node) as connection:
        tell(connection, "CHECKPOINT")
    with closing(WalPosition(there.coordinator)) as position:
        fed = WalStream(there.coordinator, name, position)
        try:
            with superuser(node) as connection:
                known = facts(connection)
                tell(connection, "SELECT pg_switch_wal()")
                tell(connection, "SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
                until(lambda: fed.available() % SEGMENT > 100000, 20)
                start = fed.available() // SEGMENT * SEGMENT
                fed.begin(WalSource(known.system_identifier, known.timeline, SEGMENT), start)
                upto = fed.available()
                taken = fed.segment(start, upto)
                before = taken.tobytes()
                tell(connection, "SELECT pg_logical_emit_message(true, 'test', repeat('y', 100000))")
                until(lambda: fed.available() > upto + 100000, 20)
            assert taken.tobytes() == before and not taken[upto - start :].any()
        finally:
            fed.close()


def restart_lsn(node: Node) -> int:
    ((lsn,),) = rows(node, "SELECT restart_lsn::text FROM pg_replication_slots")
    return parse_lsn(lsn)


def test_files_of_another_server_are_not_read(there: Cluster, node: Node) -> None:
    """After a failover an address leads to another server, or to another run of the same."""
    with superuser(node) as connection:
        known = facts(connection)
    for other, why in (
        (replace(known, system_identifier=1), "leads to another server"),
        (replace(known, postmaster_started="1"), "node cn was restarted"),
    ):
        with (
            closing(RemoteReader(there.coordinator, other)) as reader,
            pytest.raises(CaptureInterrupted, match=why),
        ):
            reader.content("PG_VERSION")


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: right.name)
def test_each_right_is_needed_and_its_absence_is_told_by_name(
    there: Cluster, node: Node, vault: Vault, right: Right
) -> None:
    with superuser(node) as connection:
        tell(connection, right.revoke.format(role="backup"))
    try:
        with closing(session.connect(there.coordinator, "postgres")) as ours:
            assert [one.name for one in missing(ours)] == [right.name]
        if right.must:
            with pytest.raises(StillhouseError, match=f"{right.name}.*cluster grants"):
                capture_cluster(there, vault)
        else:
            capture_cluster(there, vault)
    finally:
        with superuser(node) as connection:
            tell(connection, right.grant.format(role="backup"))
    with closing(session.connect(there.coordinator, "postgres")) as ours:
        assert [*missing(ours)] == []


@pytest.mark.long
def test_configuration_outside_the_data_directory_is_taken_as_the_server_has_read_it(
    house: Cluster, there: Cluster, node: Node, version_site: Site, vault: Vault
) -> None:
    """As Debian has it. Our role may not read these files; without the rights on the views they are left out."""
    outside = Path(node.directory, "etc")
    outside.mkdir()
    rules = Path(node.directory, "pgdata", "pg_hba.conf").read_text()
    (outside / "pg_hba.conf").write_text(rules)
    (outside / "included.conf").write_text("work_mem = '7MB'\n")
    inside = Path(node.directory, "pgdata", "postgresql.conf").read_text()
    (outside / "postgresql.conf").write_text(f"{inside}\ninclude '{outside}/included.conf'\n")
    if version_site.binaries.account is not None:
        for path in (outside, *outside.iterdir()):
            give(path, version_site.binaries.account)
    own = {
        name: f"{outside}/{file}"
        for name, file in (("hba_file", "pg_hba.conf"), ("config_file", "postgresql.conf"))
    }
    server.restart(version_site.binaries, node, own)
    try:
        shot = capture_cluster(there, vault)
        with restored_files(version_site, house, shot, vault) as directories:
            assert "work_mem = '7MB'" in (directories["cn"] / "postgresql.conf").read_text()
            assert (
                'host all,replication "backup" 127.0.0.0' in (directories["cn"] / "pg_hba.conf").read_text()
            )
        with superuser(node) as connection:
            tell(connection, "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() FROM backup")
        shot = capture_cluster(there, vault)
        assert shot.captured["cn"].skipped == 1
    finally:
        server.restart(version_site.binaries, node)
        let_in(node)
        with superuser(node) as connection:
            tell(connection, "GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules() TO backup")
