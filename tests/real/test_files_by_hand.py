"""`repo restore --files-only`: a person types the printed commands, and has the cluster as it was at the cut."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Node
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cluster import embedded
from support.processes.reader import destroy_clusters
from support.processes.service import COMMAND, PASSWORD, PROJECT, Service, serving
from support.servers import warehouses
from support.servers.fifteen import PG_BIN, needs_fifteen
from support.servers.registered import PASSWORD as SOMEBODYS_PASSWORD
from support.servers.registered import ROLE, as_somebodys, make_foreign
from support.servers.versions import site_of
from support.snapshots.cuts import superuser, tell

pytestmark = pytest.mark.long

ROWS = "SELECT count(*), sum(id), md5(string_agg(v, ',' ORDER BY id)) FROM kept"


@pytest.fixture(
    scope="module", params=[pytest.param(None, id="18"), pytest.param(PG_BIN, id="15", marks=needs_fifteen)]
)
def service(request: pytest.FixtureRequest, data_root: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as changed:
        if request.param:
            changed.setenv("STILLHOUSE_PG_BIN", str(request.param))
        with serving(data_root / "typed") as running:
            yield running


@pytest.mark.parametrize("nodes", [1, 2], ids=["single", "fdw"])
def test_the_printed_commands_bring_back_the_rows_of_the_cut(
    service: Service, nodes: int, data_root: Path
) -> None:
    cluster = service.create_cluster(f"typed-{nodes}", nodes)
    make_table(service, cluster, nodes)
    snapshot = service.request_snapshot(cluster, f"then-{nodes}")
    with service.log_in(cluster) as connection:
        (then,) = connection.execute(ROWS).fetchall()
    assert service.ended(snapshot) == "AVAILABLE"
    with service.log_in(cluster) as connection:
        connection.execute("UPDATE kept SET v = 'later'")
    into = data_root / "by hand"
    try:
        *commands, log_in = lines_to_type(restored(service, snapshot, into, "--files-only").stdout)
        assert len(commands) == 3 * (1 if nodes == 1 else nodes + 1)
        for command in commands:
            typed(command)
        assert typed(f"{log_in} -At", ROWS) == "|".join(map(str, then))
        quiet = "SHOW archive_mode; SELECT subname, subenabled, subslotname FROM pg_subscription"
        assert typed(f"{log_in} -At", quiet) == "off\nfar|f|"
        # The data nodes are the restored ones.
        assert typed(f"{log_in} -At", f"DELETE FROM kept; {ROWS}").startswith("0|")
        assert typed(f"{log_in} -At", "CREATE TABLE more AS SELECT 1 AS id; TABLE more") == "1"
    finally:
        destroy_clusters(into)
        shutil.rmtree(into)
    with service.log_in(cluster) as connection:
        assert connection.execute("SELECT count(*), min(v) FROM kept").fetchall() == [(1000, "later")]
    service.delete_cluster(cluster)


def make_table(service: Service, cluster: str, nodes: int) -> None:
    """Its settings would push WAL into an archive, and a subscription would draw on its source."""
    with closing(session.connect(service.nodes(cluster)[0], "gaussdb")) as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = on")
        connection.execute("ALTER SYSTEM SET archive_command = 'touch /nowhere/at/all'")
        connection.execute(
            "CREATE SUBSCRIPTION far CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)"
        )
    with service.log_in(cluster) as connection:
        if nodes > 1:
            connection.execute(
                "SELECT stillhouse.create_distributed_table('public.kept', 'id bigint NOT NULL, v text', 'id')"
            )
        else:
            connection.execute("CREATE TABLE kept (id bigint NOT NULL, v text)")
        connection.execute("INSERT INTO kept SELECT i, md5(i::text) FROM generate_series(1, 1000) i")


@pytest.fixture
def elder(data_root: Path) -> Iterator[Node]:
    """Somebody's server of PostgreSQL 15, with rows."""
    data = data_root / "elder"
    data.mkdir(mode=0o755)
    site = site_of(15, data)
    cluster = warehouses.build(site, 1)
    try:
        node = cluster.coordinator
        with superuser(node) as connection:
            tell(
                connection,
                "CREATE TABLE public.kept AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, 1000) i",
            )
        there = as_somebodys(node, data_root)
        make_foreign(node)
        with closing(session.connect(node, "template1", role="postgres")) as connection:
            tell(connection, "DROP DATABASE gaussdb")
        yield there
    finally:
        embedded.destroy(site, cluster.id)
        shutil.rmtree(data)


@needs_fifteen
def test_a_version_without_programs_here_is_told_before_anything_is_copied(
    elder: Node, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_PG_BIN", str(find_binaries(data_root, None).directory))
    into, refused = data_root / "of fifteen", data_root / "refused"
    with serving(data_root / "without-fifteen") as service:
        snapshot = taken(service, elder)
        try:
            answer = restored(service, snapshot, refused, succeeds=False)
            assert "node cn of the snapshot is of PostgreSQL 15, but this host has only" in answer.stderr
            assert "hint: install PostgreSQL 15" in answer.stderr
            assert not list(refused.glob("clusters/*"))
            told = "note: the snapshot is of PostgreSQL 15, but this host has only the programs of 18"
            with without_content(service):
                answer = restored(service, snapshot, into, "--files-only", succeeds=False)
                assert answer.stderr.startswith(told) and not list(into.glob("clusters/*/*/pgdata"))
            answer = restored(service, snapshot, into, "--files-only")
            assert answer.stderr.startswith(told) and str(PG_BIN) in answer.stderr
            *commands, log_in = lines_to_type(answer.stdout)
            for command in commands:  # they name the usual place, which this host has after all
                typed(command)
            assert typed(f"{log_in} -At", ROWS, password=SOMEBODYS_PASSWORD).startswith("1000|500500|")
        finally:
            for place in (into, refused):
                destroy_clusters(place)
                shutil.rmtree(place)


def taken(service: Service, there: Node) -> str:
    """A snapshot of somebody's server."""
    assert there.connection is not None
    done = subprocess.run(
        [*COMMAND, "cluster", "add", "elder", "--data", str(service.data), "--project", PROJECT, "--json",
         "--host", f"{there.host}:{there.port}", "--role", ROLE, "--tls", "disable",
         "--password-file", there.connection.password_file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    snapshot = service.request_snapshot(json.loads(done.stdout)["id"], "elder")
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    return snapshot


@contextmanager
def without_content(service: Service) -> Iterator[None]:
    """No pack can be read: a restore knows what it would copy, and copies nothing."""
    (packs,) = (service.data / "repository").glob("**/packs")
    away = packs.rename(service.data / "away")
    try:
        yield
    finally:
        away.rename(packs)


def restored(
    service: Service, snapshot: str, into: Path, *options: str, succeeds: bool = True
) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [*COMMAND, "repo", "restore", "--repository", str(service.data / "repository"), "--kek-file",
         str(service.data / "kek"), "--snapshot", snapshot, "--into", str(into), *options],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
    return done


def lines_to_type(printed: str) -> list[str]:
    """The lines that a person is told to type."""
    _, told = printed.split("\n# ", 1)
    return [line for line in told.splitlines()[1:] if line and not line.startswith("#")]


def typed(command: str, asked: str = "", *, password: str = PASSWORD) -> str:
    done = subprocess.run(
        ["bash", "-c", command], input=asked, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"PGPASSWORD": password},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout.strip().removeprefix("DELETE 1000\n").removeprefix("SELECT 1\n")
