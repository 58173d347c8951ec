"""Where PostgreSQL decides whether a base holds: what its summaries tell and do not tell, whose history it is."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.node.capture.task import Captured
from stillhouse.postgres.host import server
from stillhouse.postgres.sessions import session
from stillhouse.postgres.wal import summaries
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.warehouse.cluster.embedded import Site
from support.databases import incremental_bug
from support.databases.writers import until
from support.servers.warehouses import rows
from support.snapshots.captures import (
    HASTY,
    Moments,
    Shot,
    Vault,
    capture_cluster,
    files,
    lines,
    restored_cluster,
)
from support.snapshots.cuts import ask, superuser, tell

pytest_plugins = ["support.snapshots.capture_fixtures"]
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("captures_leave_nothing")]

SUMMARISED = """
    SELECT summarized_lsn >= (SELECT redo_lsn FROM pg_control_checkpoint()) FROM pg_get_wal_summarizer_state()
"""


def told(node: Node, *commands: str, database: str = "postgres") -> None:
    with superuser(node, database) as connection:
        for command in commands:
            tell(connection, command)


def captured_on(house: Cluster, vault: Vault, base: Shot) -> tuple[Shot, Captured]:
    shot = capture_cluster(house, vault, base=base)
    return shot, shot.captured["cn"]


def oid_of(node: Node, database: str) -> int:
    return int(rows(node, f"SELECT oid FROM pg_database WHERE datname = '{database}'")[0][0])


def test_summaries_are_followed_where_an_lsn_grows_by_a_digit(
    house: Cluster, node: Node, vault: Vault
) -> None:
    base = capture_cluster(house, vault)
    digit = 1 << 28
    assert base.captured["cn"].start_lsn < digit, "this is the first to be run on its server"
    with superuser(node) as connection:
        while ask(connection, f"SELECT pg_current_wal_lsn() - '0/0'::pg_lsn < {digit}") == [(True,)]:
            tell(connection, "SELECT pg_logical_emit_message(false, 'test', 'x', true)")
            tell(connection, "SELECT pg_switch_wal()")
            tell(connection, "CHECKPOINT")
    _, captured = captured_on(house, vault, base)
    assert captured.base and captured.files["kept"] > 0


def test_what_no_summary_lists_is_read_all_the_same(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    """Zero pages of bulk extension where deleted rows were; another database's pages under the very same paths."""
    incremental_bug.fill(node)
    told(node, "CREATE DATABASE origin", "CREATE DATABASE replaced")
    told(node, "CREATE TABLE public.t AS SELECT 'old' AS a FROM generate_series(1, 500)", database="replaced")
    told(node, "CREATE TABLE public.t AS SELECT 'new' AS a FROM generate_series(1, 700)", database="origin")
    oid = oid_of(node, "replaced")
    base = capture_cluster(house, vault)
    incremental_bug.delete_truncate_and_load(node)
    told(
        node,
        "DROP DATABASE replaced",
        f"CREATE DATABASE replaced OID {oid} TEMPLATE origin STRATEGY file_copy",
    )
    expected = rows(node, incremental_bug.COUNT)
    shot, captured = captured_on(house, vault, base)
    assert captured.base and captured.files["kept"] > captured.files["pages"] > 0
    assert files(vault, captured)[f"base/{oid}/1259"]["why"] == "its database was copied there"
    with restored_cluster(site, house, shot, vault, settings=HASTY) as clone:
        restored = clone.cluster.coordinator
        assert rows(restored, incremental_bug.COUNT) == expected
        assert rows(restored, "SELECT a, count(*) FROM public.t GROUP BY 1", "replaced") == [("new", 700)]


def test_a_gap_in_the_summaries_is_closed_by_a_scan(house: Cluster, node: Node, vault: Vault) -> None:
    base = capture_cluster(house, vault)
    told(node, "UPDATE public.kept SET i = i WHERE i = 1", "CHECKPOINT")
    summaries = Path(node.directory, "pgdata", "pg_wal", "summaries")
    until(lambda: rows(node, SUMMARISED) == [(True,)], 30)  # what is summarised later closes no gap
    for summary in [*summaries.iterdir()]:
        summary.unlink()
    _, captured = captured_on(house, vault, base)
    assert captured.base and captured.files["scan"] > 0 and "kept" not in captured.files


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_the_summaries_that_were_judged_are_the_very_ones_that_are_read(
    site: Site, house: Cluster, node: Node, vault: Vault, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Before, a summary that was gone or unreadable was missed: its changed pages came back as they had been."""
    directory = Path(node.directory, "pgdata", "pg_wal", "summaries")
    told(node, "DROP TABLE IF EXISTS public.summed")
    told(node, "CREATE TABLE public.summed AS SELECT i, 0 AS n FROM generate_series(1, 20000) i")
    base = capture_cluster(house, vault)
    told(node, "DELETE FROM public.summed WHERE i % 50 = 0", "UPDATE public.summed SET n = 1 WHERE i % 7 = 0")
    expected = rows(node, "SELECT count(*), sum(n) FROM public.summed")  # a first reading changes pages, too
    told(node, "CHECKPOINT", "SELECT pg_logical_emit_message(true, 'test', 'x')", "CHECKPOINT")
    judged: list[int] = []

    def read_when_harmed(connection: session.Connection, chain: Sequence[summaries.Summary]) -> Changes | str:
        judged.append(len(chain))
        timeline, start, end = chain[0]
        first = directory / f"{timeline:08X}{start:016X}{end:016X}.summary"
        if harm == "removed":
            first.unlink()
        else:
            first.write_bytes(first.read_bytes()[:-1])
        return read_chain(connection, chain)

    read_chain = summaries.read_chain
    monkeypatch.setattr(summaries, "read_chain", read_when_harmed)
    shot, captured = captured_on(house, vault, base)
    assert judged[0] > 1, "those that are left make no gap at either end"
    with restored_cluster(site, house, shot, vault, settings=HASTY) as clone:
        assert rows(clone.cluster.coordinator, "SELECT count(*), sum(n) FROM public.summed") == expected
    assert captured.base and captured.files["scan"] > 0 and "kept" not in captured.files


def test_summaries_that_are_switched_off_are_replaced_by_a_scan(
    house: Cluster, node: Node, vault: Vault
) -> None:
    base = capture_cluster(house, vault)
    told(node, "ALTER SYSTEM SET summarize_wal = off", "SELECT pg_reload_conf()")
    until(lambda: rows(node, "SHOW summarize_wal") == [("off",)], 10)
    try:
        _, captured = captured_on(house, vault, base)
        assert captured.base and captured.files["scan"] > 0
    finally:
        told(node, "ALTER SYSTEM RESET summarize_wal", "SELECT pg_reload_conf()")


@contextmanager
def stopped(site: Site, node: Node) -> Iterator[Path]:
    """The server is down meanwhile; its data directory."""
    server.stop(site.binaries, node)
    yield Path(node.directory, "pgdata")
    server.start(site.binaries, node)


def test_after_a_restart_the_summaries_still_tell(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    base = capture_cluster(house, vault)
    with stopped(site, node):
        pass
    _, captured = captured_on(house, vault, base)
    assert captured.base and captured.files["kept"] > 0


def test_checksums_switched_off_while_the_server_is_down_make_the_capture_whole(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    base = capture_cluster(house, vault)

    def switch(how: str) -> None:
        with stopped(site, node) as data:
            assert site.binaries.run("pg_checksums", how, f"--pgdata={data}", timeout=60).returncode == 0

    switch("--disable")
    try:
        _, captured = captured_on(house, vault, base)
        assert captured.base is None and "checksum_version was 1 and is 0" in captured.whole_because
        assert captured.lineage == node.lineage, "the history goes on"
    finally:
        switch("--enable")


def is_of_a_new_lineage(captured: Captured, node: Node, why: str) -> None:
    assert captured.base is None and why in captured.whole_because
    assert captured.lineage != node.lineage
    assert set(captured.files) <= {"whole"}


def test_a_base_of_the_source_is_none_for_its_clone(site: Site, house: Cluster, vault: Vault) -> None:
    """Both have promoted from the same snapshot: same system identifier, same LSNs, another history."""
    base = capture_cluster(house, vault)
    with restored_cluster(site, house, base, vault, settings=HASTY) as clone:
        (restored,) = clone.cluster.nodes
        _, captured = captured_on(clone.cluster, vault, base)
        is_of_a_new_lineage(captured, restored, "another history")
        first = capture_cluster(clone.cluster, vault).captured["cn"]
        assert first.base is None, "and nothing is inherited without a base either"
        renewed = replace(restored, lineage=first.lineage)
        told(restored, "CREATE TABLE public.mine AS SELECT 1")
        own = capture_cluster(
            replace(clone.cluster, nodes=(renewed,)), vault, base=Shot(base.cut, {"cn": first})
        )
        assert own.captured["cn"].base == first.manifest.id, "from then on it has a history of its own"


def set_back(site: Site, node: Node, aside: Path, work: Callable[[], None]) -> None:
    """Do `work`, then put the storage back to what it was before."""
    with stopped(site, node) as data:
        shutil.copytree(data, aside, symlinks=True)
    work()
    put_back(site, node, aside)


def put_back(site: Site, node: Node, aside: Path) -> None:
    with stopped(site, node) as data:
        owner = data.stat()
        shutil.rmtree(data)
        shutil.copytree(aside, data, symlinks=True)
        shutil.rmtree(aside)
        for path in (data, *data.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)


def pass_by(node: Node, lsn: int) -> None:
    """Let the node's WAL come further than `lsn`, with a checkpoint before."""
    with superuser(node) as connection:
        tell(connection, "CHECKPOINT")
        while ask(connection, f"SELECT pg_current_wal_lsn() - '0/0'::pg_lsn <= {lsn}") == [(True,)]:
            tell(connection, "SELECT pg_logical_emit_message(false, 'test', 'x', true)")
            tell(connection, "SELECT pg_switch_wal()")


def test_storage_that_was_set_back_makes_the_capture_whole(
    site: Site, house: Cluster, node: Node, vault: Vault, tmp_path: Path
) -> None:
    before = capture_cluster(house, vault)
    bases: list[Shot] = []
    set_back(site, node, tmp_path / "aside", lambda: bases.append(capture_cluster(house, vault)))
    told(
        node,
        "CREATE TABLE public.otherwise AS SELECT generate_series(1, 1000) i",
        "DROP TABLE public.otherwise",
    )
    _, captured = captured_on(house, vault, bases[0])
    is_of_a_new_lineage(captured, node, "set back to before the base")
    # As after a snapshot that was taken without a base, and deleted again.
    told(node, f"UPDATE stillhouse.lineage SET lineage = '{node.lineage}'")
    _, captured = captured_on(house, vault, bases[0])
    is_of_a_new_lineage(captured, node, "has come as far again")
    told(node, f"UPDATE stillhouse.lineage SET lineage = '{node.lineage}'")
    _, captured = captured_on(house, vault, before)
    assert captured.base == before.captured["cn"].manifest.id, "what both histories share still serves"


@pytest.fixture
def unmarkable(node: Node) -> Iterator[None]:
    """The mark can be read, and nobody can write it."""
    told(node, "ALTER TABLE stillhouse.lineage ADD CONSTRAINT never CHECK (false) NOT VALID")
    yield
    told(node, "ALTER TABLE stillhouse.lineage DROP CONSTRAINT never")


@pytest.mark.usefixtures("unmarkable")
def test_9_where_no_mark_can_be_left_the_summaries_vouch(house: Cluster, node: Node, vault: Vault) -> None:
    base = capture_cluster(house, vault)
    told(node, "CREATE TABLE public.more AS SELECT generate_series(1, 1000) i")
    second, captured = captured_on(house, vault, base)
    assert captured.base == base.captured["cn"].manifest.id
    assert "never" in next(iter(lines(vault, captured)))["unmarked"]
    told(node, "DROP TABLE public.more")
    third, captured = captured_on(house, vault, second)
    assert captured.base == second.captured["cn"].manifest.id and captured.lineage == node.lineage
    told(node, "ALTER TABLE stillhouse.lineage RENAME TO away")
    _, captured = captured_on(house, vault, third)
    told(node, "ALTER TABLE stillhouse.away RENAME TO lineage")
    assert captured.base == third.captured["cn"].manifest.id, "nor need it be there to be read"


@pytest.mark.usefixtures("unmarkable")
def test_9_storage_that_was_set_back_is_found_out_without_a_mark(
    site: Site, house: Cluster, node: Node, vault: Vault, tmp_path: Path
) -> None:
    """A server that was set back and is idle begins its backup exactly where the base did, and with a summary."""
    bases: list[Shot] = []
    set_back(site, node, tmp_path / "aside", lambda: bases.append(capture_cluster(house, vault)))
    (point,) = bases[0].cut.points
    pass_by(node, point.lsn)
    _, captured = captured_on(house, vault, bases[0])
    is_of_a_new_lineage(captured, node, "could not be marked")


@pytest.mark.usefixtures("unmarkable")
def test_9_storage_that_was_set_back_into_its_base_is_found_out_without_a_mark(
    site: Site, house: Cluster, node: Node, vault: Vault, tmp_path: Path
) -> None:
    """Its summaries reach from the base's start without a gap. Only the checkpoint after the cut is not in them."""
    aside = tmp_path / "aside"

    def copy_aside() -> None:
        told(node, "CHECKPOINT")
        shutil.copytree(Path(node.directory, "pgdata"), aside, symlinks=True)

    base = capture_cluster(house, vault, Moments(ready=copy_aside))
    put_back(site, node, aside)
    (point,) = base.cut.points
    pass_by(node, point.lsn)
    _, captured = captured_on(house, vault, base)
    is_of_a_new_lineage(captured, node, "no WAL summary shows that it came so far")


def recover_in_place(site: Site, node: Node) -> None:
    """Replay the WAL that is there, and promote to a new timeline."""
    with stopped(site, node) as data:
        (data / "recovery.signal").touch()
        told_to = {"restore_command": "/bin/false", "recovery_target_timeline": "current"}
        server.start(site.binaries, node, told_to)
        until(lambda: rows(node, "SELECT pg_is_in_recovery()") == [(False,)], 30)


def test_recovery_to_the_end_of_the_wal_goes_on_with_the_same_history(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    """It promotes to a timeline of its own, as a standby does that takes its primary's place and has all its WAL."""
    base = capture_cluster(house, vault)
    recover_in_place(site, node)
    told(node, "CREATE TABLE public.promoted AS SELECT generate_series(1, 1000) i")
    shot, captured = captured_on(house, vault, base)
    assert captured.base == base.captured["cn"].manifest.id, captured.whole_because
    assert captured.lineage == node.lineage and captured.files["kept"] > 0
    with restored_cluster(site, house, shot, vault, settings=HASTY) as clone:
        assert rows(clone.cluster.coordinator, "SELECT count(*) FROM public.promoted") == [(1000,)]
