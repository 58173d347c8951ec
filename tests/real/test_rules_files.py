"""Which files a capture takes and which it leaves out; pages that are torn or rotten; configuration kept elsewhere."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.host import server
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers.warehouses import rows
from support.snapshots.captures import (
    Moments,
    Vault,
    capture_cluster,
    files,
    lines,
    restored_cluster,
    restored_files,
)
from support.snapshots.cuts import superuser, tell

pytest_plugins = ["support.snapshots.capture_fixtures"]
pytestmark = pytest.mark.usefixtures("captures_leave_nothing")


def path_of(node: Node, relation: str) -> str:
    ((path,),) = rows(node, f"SELECT pg_relation_filepath('{relation}'::regclass)")
    return str(path)


EMPTIED = (
    *("pg_wal/", "pg_replslot/", "pg_dynshmem/", "pg_notify/"),
    *("pg_serial/", "pg_snapshots/", "pg_stat_tmp/", "pg_subtrans/"),
)


@contextmanager
def planted(directory: Path, names: list[str]) -> Iterator[None]:
    """Files that a server may have in its directory and that no snapshot may hold."""
    made = [directory / name for name in names]
    for path in made:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not for snapshots")
    yield
    for path in made:
        path.unlink()
    (directory / "base" / "pgsql_tmp").rmdir()  # made by this; a server makes it when it needs it


def test_what_belongs_to_the_running_server_alone_is_left_out(
    house: Cluster, node: Node, vault: Vault
) -> None:
    data = Path(node.directory, "pgdata")
    plants = [
        "base/pgsql_tmp/pgsql_tmp4711.0",
        "base/1/t3_16999",
        "base/1/t3_16999_fsm",
        "base/1/t3_16999.1",
        "base/1/pg_internal.init.4711",
        "pg_stat_tmp/global.tmp",
        "pg_snapshots/00000003-00000001-1",
        "pg_notify/0007",
        "pg_serial/0007",
        "pg_dynshmem/mmap.1",
        "pg_replslot/state",
        "backup_label.old",
        "current_logfiles",
        "postgresql.auto.conf.tmp",
    ]
    with planted(data, plants), superuser(node) as connection:
        tell(connection, "CREATE TEMPORARY TABLE passing AS SELECT generate_series(1, 1000) i")
        captured = capture_cluster(house, vault).captured["cn"]
    taken = files(vault, captured)
    assert [path for path in plants if path in taken] == []
    assert [path for path in taken if path.startswith(EMPTIED)] == []
    left_out = ("postmaster.", "pg_internal.init", "pgsql_tmp", "t")
    names = {
        path.rpartition("/")[2] for path in taken if path.startswith(("base", "global")) or "/" not in path
    }
    assert [name for name in names if name.startswith(left_out)] == []


def test_all_directories_and_empty_files_are_made_anew(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    with superuser(node) as connection:
        tell(connection, "CREATE TABLE public.empty (i int)")
    empty = path_of(node, "public.empty")
    shot = capture_cluster(house, vault)
    home = Path(node.directory, "pgdata")
    with restored_files(site, house, shot, vault) as restored:
        assert (restored["cn"] / empty).stat().st_size == 0
        assert directories(restored["cn"]) == directories(home)


def directories(root: Path) -> set[str]:
    """All but those in pg_wal, which a server that lacks them makes."""
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}
    return {path for path in found if not path.startswith("pg_wal/")}


def test_of_an_unlogged_table_only_the_init_fork_is_taken(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    with superuser(node) as connection:
        tell(connection, "CREATE UNLOGGED TABLE public.fleeting AS SELECT generate_series(1, 10000) i")
        tell(connection, "VACUUM public.fleeting")
        tell(connection, "CHECKPOINT")
    main = path_of(node, "public.fleeting")
    assert Path(node.directory, "pgdata", f"{main}_vm").exists()
    shot = capture_cluster(house, vault)
    assert [path for path in files(vault, shot.captured["cn"]) if path.startswith(main)] == [f"{main}_init"]
    with restored_cluster(site, house, shot, vault) as clone:
        restored = clone.cluster.coordinator
        assert rows(restored, "SELECT count(*) FROM public.fleeting") == [(0,)]
        rows(restored, "INSERT INTO public.fleeting SELECT 1 RETURNING i")


def test_an_unlogged_relation_made_during_the_capture_does_not_stop_recovery(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    """An index's init fork is made after it is built: the listing sees its main fork alone."""
    with superuser(node) as connection:
        tell(connection, "CREATE UNLOGGED TABLE public.brief AS SELECT generate_series(1, 100) i")
        tell(
            connection,
            "CREATE FUNCTION public.slowly(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$"
            " BEGIN PERFORM pg_catalog.pg_advisory_lock_shared(7); RETURN $1; END $$",
        )
    with superuser(node) as gate:
        tell(gate, "SELECT pg_advisory_lock(7)")
        index = threading.Thread(target=build_index, args=(node,))
        index.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: rows(node, waiting) == [(1,)], 10)

        def finish() -> None:
            tell(gate, "SELECT pg_advisory_unlock(7)")
            index.join(10)

        shot = capture_cluster(house, vault, Moments(listed=finish))
    main = path_of(node, "public.brief_index")
    assert Path(node.directory, "pgdata", f"{main}_init").exists()
    assert main not in files(vault, shot.captured["cn"])
    with restored_cluster(site, house, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, "SELECT count(*) FROM public.brief") == [(0,)]


def build_index(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, "CREATE INDEX brief_index ON public.brief (public.slowly(i))")


@pytest.fixture
def page(node: Node) -> Iterator[Path]:
    """The file of `kept`, nothing of which the server has still to write; put right afterwards."""
    with superuser(node) as connection:
        tell(connection, "CHECKPOINT")
    path = Path(node.directory, "pgdata", path_of(node, "public.kept"))
    whole = path.read_bytes()
    yield path
    overwrite(path, whole)


def overwrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)


def spoilt(content: bytes, block: int) -> bytes:
    at = block * 8192 + 8000
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_rotten_page_is_named(house: Cluster, node: Node, vault: Vault, page: Path) -> None:
    overwrite(page, spoilt(page.read_bytes(), 3))
    captured = capture_cluster(house, vault).captured["cn"]
    rotten = [(line["path"], line["block"]) for line in lines(vault, captured) if line["t"] == "rotten"]
    assert rotten == [(path_of(node, "public.kept"), 3)]
    assert captured.rotten == 1


def test_a_torn_page_is_read_again(site: Site, house: Cluster, node: Node, vault: Vault, page: Path) -> None:
    """Torn by hand: the page is whole again at the second look, as when the server has done writing it."""
    whole = page.read_bytes()
    looks: list[str] = []
    path = path_of(node, "public.kept")
    overwrite(page, spoilt(whole, 3))

    def mend_at_second_look(opened: str) -> None:
        looks.extend([opened] if opened == path else [])
        if looks.count(path) == 2:
            overwrite(page, whole)

    shot = capture_cluster(house, vault, Moments(opening=mend_at_second_look))
    assert shot.captured["cn"].rotten == 0
    with restored_files(site, house, shot, vault) as restored:
        assert (restored["cn"] / path).read_bytes() == whole


@pytest.fixture
def debian_like(site: Site, node: Node) -> Iterator[Path]:
    """The server reads its configuration in a directory of its own, which names all other places in full."""
    etc = site.data / "etc"
    etc.mkdir()
    data = Path(node.directory, "pgdata")
    conf = (data / "postgresql.conf").read_text()
    places = {
        "data_directory": data,
        "hba_file": etc / "pg_hba.conf",
        "ident_file": etc / "pg_ident.conf",
        "external_pid_file": etc / "main.pid",
    }
    conf += "".join(f"{name} = '{path}'\n" for name, path in places.items())
    (etc / "main.conf").write_text(conf + "work_mem = '7654kB'\n")
    for name in ("pg_hba.conf", "pg_ident.conf"):
        (etc / name).write_text((data / name).read_text())
    owner = data.stat()
    for path in (etc, *etc.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    elsewhere = {name: str(path) for name, path in places.items()}
    server.restart(site.binaries, node, {"config_file": str(etc / "main.conf"), **elsewhere})
    yield etc
    server.restart(site.binaries, node)


def test_configuration_outside_the_data_directory_is_taken_and_leads_the_clone_nowhere(
    site: Site, house: Cluster, node: Node, vault: Vault, debian_like: Path
) -> None:
    shot = capture_cluster(house, vault)
    before = {path.name: path.read_bytes() for path in debian_like.iterdir()}
    with restored_cluster(site, house, shot, vault) as clone:
        restored = clone.cluster.coordinator
        assert rows(restored, "SHOW work_mem") == [("7654kB",)]
        places = "config_file", "data_directory", "hba_file", "ident_file"
        used = rows(restored, f"SELECT setting FROM pg_settings WHERE name IN {places}")
        assert [path for (path,) in used if not path.startswith(restored.directory)] == []
        assert {path.name: path.read_bytes() for path in debian_like.iterdir()} == before
    assert {path.name: path.read_bytes() for path in debian_like.iterdir()} == before
    assert server.is_running(node)
