"""A snapshot of another machine's server can be restored, though this host cannot honour all its settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster
from stillhouse.errors import InvalidInput
from stillhouse.postgres.host import server
from stillhouse.postgres.host.settings_trial import check_settings
from stillhouse.warehouse.clone import foreign_servers
from stillhouse.warehouse.cluster.embedded import Site
from support.servers.warehouses import MakeWarehouse, rows
from support.snapshots.captures import (
    HASTY,
    Clone,
    capture_cluster,
    open_vault,
    planned_clone,
    recover,
    release,
    restore_files,
)
from support.snapshots.cuts import superuser, tell

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("host_limits")]

# Settings that another machine may have had; this host honours the last two lines.
ELSEWHERE = """\
shared_buffers = '1TB'
huge_pages = on
huge_page_size = '2MB'
shared_preload_libraries = 'pg_prewarm, not_here, $libdir/nor_there'
session_preload_libraries = 'auto_explain, not_here'
local_preload_libraries = 'nowhere'
lc_messages = 'xx_YY.utf8'
lc_time = 'xx_YY.utf8'
timezone = 'Mars/Olympus'
setting_of_a_fork = 'on'
ssl = on
ssl_cert_file = '/no/such/certificate'
max_stack_depth = '1GB'
include '/etc/postgresql/elsewhere.conf'
work_mem = '5MB'
pg_prewarm.autoprewarm = off
"""
REFUSED = {
    "shared_buffers",
    "huge_pages",
    "shared_preload_libraries",
    "session_preload_libraries",
    "local_preload_libraries",
    "lc_messages",
    "lc_time",
    "timezone",
    "setting_of_a_fork",
    "ssl",
    "max_stack_depth",
}


@pytest.fixture(scope="module")
def source(make_warehouse: MakeWarehouse) -> Cluster:
    cluster, _ = make_warehouse(1)
    with superuser(cluster.coordinator, "gaussdb") as session:
        tell(session, "CREATE TABLE public.kept (id int)")
        session.execute("BEGIN")
        session.execute("INSERT INTO public.kept VALUES (1)")
        session.execute("PREPARE TRANSACTION 'pending'")
    return cluster


@pytest.fixture(scope="module")
def opened(
    site: Site, source: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Clone, list[str]]]:
    vault = open_vault(tmp_path_factory.mktemp("elsewhere"), source)
    shot = capture_cluster(source, vault)
    with planned_clone(site, source) as clone:
        restore_files(site, clone, shot, vault)
        (node,) = clone.cluster.nodes
        with Path(node.directory, "pgdata", "postgresql.conf").open("a") as file:
            file.write(ELSEWHERE)
        chosen = {"work_mem": "7MB", "max_connections": "55"}
        recover(site, source, clone, shot, HASTY, chosen)
        foreign_servers.unpark(node)
        told = release(site, clone, chosen)
        # Killed before it could tell: it finds the same, and tells it still.
        recover(site, source, clone, shot, HASTY, chosen)
        foreign_servers.unpark(node)
        assert release(site, clone, chosen) == told
        yield clone, told


def test_a_server_of_another_machine_starts_with_what_this_host_can_do(
    opened: tuple[Clone, list[str]],
) -> None:
    (node,) = opened[0].cluster.nodes
    settings = dict(rows(node, "SELECT name, setting FROM pg_settings"))
    assert settings["shared_preload_libraries"] == "pg_prewarm"
    # Sessions of ours ask for none, whatever the server says.
    read = "SELECT setting FROM pg_file_settings WHERE name = 'session_preload_libraries' ORDER BY seqno DESC LIMIT 1"
    assert rows(node, read) == [("auto_explain",)]
    assert settings["pg_prewarm.autoprewarm"] == "off"
    assert settings["listen_addresses"] == node.host
    assert rows(node, "SELECT gid FROM pg_prepared_xacts") == [("pending",)]
    # It is a server like any other: what it starts with is written down.
    assert int(settings["shared_buffers"]) < 1 << 20


def test_what_this_host_cannot_honour_is_told_by_name_and_reason(opened: tuple[Clone, list[str]]) -> None:
    _, told = opened
    assert {note.split()[2] for note in told} - {"huge_page_size", "ssl_cert_file"} == REFUSED
    (buffers,) = [note for note in told if "shared_buffers" in note]
    assert "instead of '1TB'" in buffers and "memory" in buffers
    (fork,) = [note for note in told if "setting_of_a_fork" in note]
    assert fork.endswith(
        'which this host cannot honour: unrecognized configuration parameter "setting_of_a_fork"'
    )
    assert [note for note in told if opened[0].cluster.id in note] == []


def test_what_a_person_chose_prevails(opened: tuple[Clone, list[str]]) -> None:
    (node,) = opened[0].cluster.nodes
    settings = dict(rows(node, "SELECT name, setting FROM pg_settings"))
    assert (settings["work_mem"], settings["max_connections"]) == ("7168", "55")


def test_a_restart_needs_no_help(site: Site, opened: tuple[Clone, list[str]]) -> None:
    (node,) = opened[0].cluster.nodes
    server.restart(site.binaries, node)
    assert rows(node, "SHOW work_mem") == [("7MB",)]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("shared_bufers", "1GB", "unrecognized"),
        ("shared_buffers", "much", "invalid value"),
        ("huge_pages", "perhaps", "Available values"),
    ],
)
def test_what_postgresql_does_not_take_is_refused_before_anything_is_copied(
    site: Site, name: str, value: str, why: str
) -> None:
    check_settings(site.binaries, {"work_mem": "4MB", "some.thing": "x"})
    with pytest.raises(InvalidInput, match=why):
        check_settings(site.binaries, {"work_mem": "4MB", name: value})
