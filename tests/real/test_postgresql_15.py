"""PostgreSQL 15 end to end: it has no WAL summaries, so all pages are scanned for their LSN, or all are stored."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.proof.structure import check_structure
from support.databases import incremental_bug
from support.servers import warehouses
from support.servers.fifteen import PG_BIN, needs_fifteen
from support.servers.warehouses import rows
from support.snapshots.captures import (
    HASTY,
    Shot,
    Vault,
    capture_cluster,
    files,
    lines,
    open_vault,
    restored_cluster,
)
from support.snapshots.cuts import superuser, tell

pytestmark = needs_fifteen

INDEX_ONLY = ("SET enable_seqscan = off", "SET enable_bitmapscan = off")


@pytest.fixture(scope="module")
def fifteen(site: Site) -> Site:
    return replace(site, binaries=find_binaries(site.data, site.binaries.account, pg_bin=PG_BIN))


@pytest.fixture(scope="module")
def house(fifteen: Site) -> Iterator[Cluster]:
    """Its WAL lies behind a link, and it has a tablespace in place."""
    cluster = warehouses.build(fifteen, 1)
    node = cluster.coordinator
    told(node, "ALTER SYSTEM SET autovacuum = off")
    server.stop(fifteen.binaries, node)
    wal, elsewhere = Path(node.directory, "pgdata", "pg_wal"), Path(node.directory, "wal")
    wal.rename(elsewhere)
    wal.symlink_to(elsewhere)
    owner = elsewhere.stat()
    os.chown(wal, owner.st_uid, owner.st_gid, follow_symlinks=False)
    server.start(fifteen.binaries, node)
    told(node, "SET allow_in_place_tablespaces = on", "CREATE TABLESPACE in_place LOCATION ''")
    told(node, "CREATE TABLE public.inside TABLESPACE in_place AS SELECT generate_series(1, 1000) i")
    yield cluster
    embedded.destroy(fifteen, cluster.id)


@pytest.fixture(scope="module")
def vault(house: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return open_vault(tmp_path_factory.mktemp("vault"), house)


def told(node: Node, *commands: str, database: str = "postgres") -> None:
    with superuser(node, database) as connection:
        for command in commands:
            tell(connection, command)


def count_by_index(node: Node) -> int:
    with superuser(node) as connection:
        for setting in INDEX_ONLY:
            tell(connection, setting)
        found = connection.execute("SELECT count(*) FROM public.seen WHERE i > 0").fetchone()
        assert found is not None
        return int(found[0])


@pytest.fixture(scope="module")
def base(house: Cluster, vault: Vault) -> Shot:
    node = house.coordinator
    incremental_bug.fill(node)
    told(
        node,
        "CREATE TABLE public.seen AS SELECT generate_series(1, 20000) i",
        "CREATE INDEX ON public.seen (i)",
    )
    told(node, "VACUUM public.seen", "CREATE DATABASE origin", "CREATE DATABASE replaced")
    told(node, "CREATE TABLE public.t AS SELECT 'new' AS a FROM generate_series(1, 700)", database="origin")
    return capture_cluster(house, vault)


def test_a_scan_stores_what_moved_on_and_misses_nothing(
    fifteen: Site, house: Cluster, vault: Vault, base: Shot
) -> None:
    """Zero pages over deleted rows, a visibility map whose clearing has no LSN, a database behind another's paths."""
    node = house.coordinator
    ((oid,),) = rows(node, "SELECT oid FROM pg_database WHERE datname = 'replaced'")
    incremental_bug.delete_truncate_and_load(node)
    told(
        node,
        "DELETE FROM public.seen WHERE i % 4 > 0",
        "UPDATE public.inside SET i = -i",
        "DROP DATABASE replaced",
        f"CREATE DATABASE replaced OID {oid} TEMPLATE origin STRATEGY file_copy",
    )
    expected = rows(node, incremental_bug.COUNT)
    shot = capture_cluster(house, vault, base=base)
    captured = shot.captured["cn"]
    assert captured.base and captured.files["scan"] > captured.files["whole"]
    assert captured.packed_bytes < captured.plain_bytes / 2
    assert files(vault, captured)[f"base/{oid}/1259"]["why"] == "its database was copied there"
    with restored_cluster(fifteen, house, shot, vault, settings=HASTY) as clone:
        restored = clone.cluster.coordinator
        assert rows(restored, incremental_bug.COUNT) == expected
        assert count_by_index(restored) == 5000
        assert rows(restored, "SELECT a, count(*) FROM public.t GROUP BY 1", "replaced") == [("new", 700)]
        assert rows(restored, "SELECT sum(i) FROM public.inside") == [(-500500,)]
        inside = rows(restored, "SELECT pg_relation_filepath('public.inside')")[0][0]
        assert Path(restored.directory, "pgdata", inside).resolve().is_relative_to(restored.directory)
        assert not Path(restored.directory, "pgdata", "pg_wal").is_symlink()


def test_9_a_server_that_forbids_ddl_and_writes_is_captured(house: Cluster, vault: Vault, base: Shot) -> None:
    """Event triggers forbid it, and 15 has no setting against them; but a capture makes nothing."""
    node = house.coordinator
    told(
        node,
        "CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'no DDL here'; END $$",
        "CREATE EVENT TRIGGER forbid ON ddl_command_start EXECUTE FUNCTION public.forbid()",
        "ALTER EVENT TRIGGER forbid ENABLE ALWAYS",
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "SELECT pg_reload_conf()",
    )
    try:
        captured = capture_cluster(house, vault, base=base).captured["cn"]
    finally:
        told(
            node,
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
            "DROP EVENT TRIGGER forbid",
        )
    assert captured.base == base.captured["cn"].manifest.id
    assert "unmarked" not in lines(vault, captured)[0]


def test_9_without_a_mark_the_next_capture_is_whole_and_says_so(
    house: Cluster, vault: Vault, base: Shot
) -> None:
    """No summary can vouch for it."""
    node = house.coordinator
    told(node, "ALTER TABLE stillhouse.lineage ADD CONSTRAINT never CHECK (false) NOT VALID")
    unmarked = capture_cluster(house, vault, base=base)
    captured = capture_cluster(house, vault, base=unmarked).captured["cn"]
    told(node, "ALTER TABLE stillhouse.lineage DROP CONSTRAINT never")
    assert unmarked.captured["cn"].base
    assert captured.base is None and "could not be marked" in captured.whole_because
    assert "before version 17" in captured.whole_because


def test_after_a_restart_all_is_stored_anew(fifteen: Site, house: Cluster, vault: Vault, base: Shot) -> None:
    """While a server is down, its pages may be changed without a trace."""
    server.restart(fifteen.binaries, house.coordinator)
    captured = capture_cluster(house, vault, base=base).captured["cn"]
    assert captured.base is None and "restarted" in captured.whole_because
    assert captured.lineage == house.coordinator.lineage


def test_without_checksums_and_logged_hints_nothing_is_scanned(
    fifteen: Site, house: Cluster, vault: Vault, base: Shot
) -> None:
    """VACUUM marks pages all-visible there and leaves their LSN."""
    node = house.coordinator
    server.stop(fifteen.binaries, node)
    data = Path(node.directory, "pgdata")
    assert fifteen.binaries.run("pg_checksums", "--disable", f"--pgdata={data}", timeout=60).returncode == 0
    server.start(fifteen.binaries, node)
    unchecked = capture_cluster(house, vault)
    captured = capture_cluster(house, vault, base=unchecked).captured["cn"]
    assert captured.base is None and "pages change without a trace" in captured.whole_because


def test_a_sound_server_is_found_sound(house: Cluster) -> None:
    """amcheck's functions have fewer arguments there."""
    seen = check_structure(house.coordinator)
    assert (seen.findings, seen.unchecked, seen.notes) == ([], [], [])
    assert seen.pages == seen.pages_total > 2000
