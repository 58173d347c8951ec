"""An embedded warehouse as its user meets it, and as its owner builds and destroys it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Engine, Role
from stillhouse.errors import InvalidInput, ProvisionFailed
from stillhouse.postgres.host import server
from stillhouse.warehouse.cluster import embedded, fdw
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cluster.fdw import DATABASES
from stillhouse.warehouse.cluster.upgrade import renew_functions
from support.databases.writers import until
from support.servers import warehouses
from support.servers.warehouses import PASSWORD, USER, MakeWarehouse, log_in, rows
from support.snapshots.cuts import superuser, tell

TESTS = Path(__file__).parents[1]
ACCOUNTS = """SELECT stillhouse.create_distributed_table(
    'public.accounts', 'id bigint NOT NULL, balance bigint NOT NULL', 'id', 'PRIMARY KEY (id)')"""
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'dbadmin'"
DANGEROUS = """
    SELECT rolname FROM pg_roles
     WHERE (rolname ~ '^pg_(read|write)_all' OR rolname ~ '^pg_.*_server' OR rolname = 'stillhouse' OR rolsuper)
       AND pg_has_role('dbadmin', oid, 'MEMBER')
"""


@pytest.fixture(scope="module")
def single(make_warehouse: MakeWarehouse) -> Cluster:
    return make_warehouse(1)[0]


@pytest.fixture(scope="module")
def distributed(make_warehouse: MakeWarehouse) -> Cluster:
    return make_warehouse(2)[0]


def test_one_node_is_a_single_server_and_more_are_one_coordinator_beside_them(
    single: Cluster, distributed: Cluster
) -> None:
    assert [(node.name, node.role) for node in single.nodes] == [("cn", Role.CN)]
    assert [node.name for node in distributed.nodes] == ["cn", "dn1", "dn2"]
    assert distributed.engine is Engine.FDW
    assert len({node.host for node in (*single.nodes, *distributed.nodes)}) == 4


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("kind", ["single", "distributed"])
def test_the_user_logs_in_with_his_password_and_creates_what_he_likes(
    kind: str, database: str, request: pytest.FixtureRequest
) -> None:
    cluster: Cluster = request.getfixturevalue(kind)
    with log_in(cluster.coordinator, database=database) as user:
        user.execute("CREATE TABLE mine (id int)")
        user.execute("CREATE SCHEMA sales")
        user.execute("CREATE TABLE sales.orders AS SELECT 1 AS id")
        user.execute("CREATE FUNCTION sales.one() RETURNS int LANGUAGE sql RETURN 1")
        assert user.execute("SELECT sales.one(), count(*) FROM sales.orders").fetchall() == [(1, 1)]
        user.execute("DROP SCHEMA sales CASCADE")
        user.execute("DROP TABLE mine")


def test_the_user_creates_databases(single: Cluster) -> None:
    with log_in(single.coordinator) as user:
        user.execute("CREATE DATABASE own")
        user.execute("DROP DATABASE own")


def test_a_schema_of_our_name_that_is_somebody_else_s_is_not_built_upon(single: Cluster) -> None:
    """Its owner could replace what stands in it, and had functions there while extensions' scripts ran."""
    with log_in(single.coordinator, database="gaussdb") as user:
        user.execute("CREATE SCHEMA stillhouse")
        try:
            with pytest.raises(ProvisionFailed, match="schema named stillhouse"):
                fdw.wire(single.coordinator, (), USER)
        finally:
            user.execute("DROP SCHEMA stillhouse CASCADE")


def test_no_node_gives_the_user_more_than_he_needs(single: Cluster, distributed: Cluster) -> None:
    for node in (*single.nodes, *distributed.nodes):
        assert rows(node, DANGEROUS) == []
        attributes = "rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls"
        assert rows(node, f"SELECT {attributes} FROM pg_roles WHERE rolname = '{USER}'") == [(False,)]


def test_a_wrong_password_and_the_superuser_are_refused_over_tcp(distributed: Cluster) -> None:
    for node in distributed.nodes:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            log_in(node, password="Wrong-Pass-1111")
        with pytest.raises(psycopg.OperationalError, match=r"rejects connection|pg_hba\.conf"):
            log_in(node, user="stillhouse", password="")


def test_the_data_nodes_are_closed_to_the_users_own_password(distributed: Cluster) -> None:
    for node in distributed.data_nodes:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            log_in(node)


def test_no_password_is_in_any_log(site: Site, distributed: Cluster) -> None:
    with log_in(distributed.coordinator) as user:
        ((secret,),) = user.execute(
            "SELECT DISTINCT split_part(o, '=', 2) FROM pg_user_mappings, unnest(umoptions) o"
            " WHERE o LIKE 'password=%'"
        ).fetchall()
    assert len(secret) > 30
    for log in (site.clusters / distributed.id).glob("*/server.log"):
        assert PASSWORD not in log.read_text()
        assert secret not in log.read_text()


def test_nodes_sum_their_pages_and_summarise_their_wal(distributed: Cluster) -> None:
    for node in distributed.nodes:
        assert rows(node, "SHOW data_checksums") == [("on",)]
        assert rows(node, "SHOW summarize_wal") == [("on",)]
        assert rows(node, "SHOW fsync") == [("on",)]
        assert rows(node, "SHOW password_encryption") == [("scram-sha-256",)]


@pytest.mark.parametrize("database", DATABASES)
def test_a_distributed_tables_rows_land_on_every_data_node(distributed: Cluster, database: str) -> None:
    with log_in(distributed.coordinator, database=database) as user:
        user.execute(ACCOUNTS.encode())
        user.execute("INSERT INTO accounts SELECT i, 10 FROM generate_series(1, 5000) i")
        assert user.execute("SELECT count(*), sum(balance) FROM accounts").fetchall() == [(5000, 50000)]
        counts = [
            rows(node, "SELECT count(*) FROM public.accounts", database)[0][0]
            for node in distributed.data_nodes
        ]
        assert sum(counts) == 5000
        assert min(counts) > 2000
        with pytest.raises(psycopg.errors.UniqueViolation):
            user.execute("INSERT INTO accounts VALUES (1, 0)")
        user.execute("SELECT stillhouse.drop_distributed_table('accounts')")
        assert user.execute("SELECT to_regclass('accounts')").fetchall() == [(None,)]
    for node in distributed.data_nodes:
        assert rows(node, "SELECT to_regclass('public.accounts')", database) == [(None,)]


# A caller's temporary types come before all others where a function's search path does not name pg_temp.
TEMPORARY = """
    CREATE FUNCTION public.spring(anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        RAISE LOG 'sprung by %', current_user; RETURN true; END $$;
    CREATE DOMAIN pg_temp.name AS pg_catalog.name CHECK (public.spring(VALUE));
    CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (public.spring(VALUE));
    CREATE DOMAIN pg_temp.int8 AS pg_catalog.int8 CHECK (public.spring(VALUE))
"""


def test_1_no_temporary_type_of_a_caller_s_runs_his_code_as_superuser(distributed: Cluster) -> None:
    node = distributed.coordinator
    log = Path(node.directory, "server.log")
    size = log.stat().st_size
    with log_in(node, database="gaussdb") as user:
        user.execute(TEMPORARY.encode())
        user.execute(
            "SELECT stillhouse.run_on_data_nodes(ARRAY['SET LOCAL work_mem = 4096']::pg_catalog.text[])"
        )
        user.execute("SELECT stillhouse.create_distributed_table('public.sprung', 'id int', 'id')")
        user.execute("SELECT stillhouse.drop_distributed_table('public.sprung')")
        user.execute("DROP FUNCTION public.spring CASCADE")
    told = log.read_bytes()[size:].decode(errors="replace")
    assert {line.partition("sprung by ")[2] for line in told.splitlines() if "LOG:  sprung by" in line} <= {
        USER
    }


def test_1_functions_that_an_earlier_version_made_are_replaced(distributed: Cluster) -> None:
    node = distributed.coordinator
    with superuser(node, "gaussdb") as operator:
        tell(operator, "ALTER FUNCTION stillhouse.run_on_data_nodes(text[]) SET search_path = ''")
    assert renew_functions(node, USER) == ["gaussdb"]
    assert renew_functions(node, USER) == []


def test_names_are_quoted_wherever_they_go(distributed: Cluster) -> None:
    with log_in(distributed.coordinator) as user:
        user.execute('CREATE SCHEMA "od\'d; --"')
        name = '"od\'d; --"."Ta\'b""le; --"'
        user.execute(
            "SELECT stillhouse.create_distributed_table(%s, %s, %s)", [name, '"K\'ey" int, t text', "K'ey"]
        )
        user.execute(f"INSERT INTO {name} SELECT i, i::text FROM generate_series(1, 100) i".encode())
        seen = [
            rows(node, f"SELECT count(*) > 0 FROM {name}")[0][0]  # a data node's own table of the same name
            for node in distributed.data_nodes
        ]
        assert seen == [True, True]
        user.execute("SELECT stillhouse.drop_distributed_table(%s)", [name])
        user.execute('DROP SCHEMA "od\'d; --"')


@pytest.mark.parametrize(
    ("name", "columns", "constraints", "error"),
    [
        ("a.b.c", "id int", "", psycopg.errors.InvalidName),
        ("t" * 51, "id int", "", psycopg.errors.NameTooLong),
        ("t", "id int, nonsense nonsense", "", psycopg.errors.UndefinedObject),
        # Found by the data nodes alone.
        ("t", "id int", "CHECK (nonsense > 0)", psycopg.errors.UndefinedColumn),
    ],
)
def test_a_definition_that_fails_leaves_nothing_anywhere(
    distributed: Cluster, name: str, columns: str, constraints: str, error: type[psycopg.Error]
) -> None:
    with log_in(distributed.coordinator) as user:
        with pytest.raises(error):
            user.execute(
                "SELECT stillhouse.create_distributed_table(%s, %s, 'id', %s)", [name, columns, constraints]
            )
        for node in distributed.data_nodes:  # nor a link, while his session goes on
            until(lambda: rows(node, SESSIONS) == [(0,)], 10)  # noqa: B023 (called before the next)
    for node in distributed.nodes:
        assert rows(node, "SELECT to_regclass('public.t')") == [(None,)]


def test_a_creation_that_is_rolled_back_here_is_cleared_away_there(distributed: Cluster) -> None:
    """Data nodes commit by themselves; drop_distributed_table is the documented remedy."""
    with log_in(distributed.coordinator) as user:
        user.execute("BEGIN")
        user.execute(ACCOUNTS.encode())
        user.execute("ROLLBACK")
        with pytest.raises(psycopg.errors.DuplicateTable):
            user.execute(ACCOUNTS.encode())
        user.execute("SELECT stillhouse.drop_distributed_table('accounts')")
        user.execute(ACCOUNTS.encode())
        user.execute("SELECT stillhouse.drop_distributed_table('accounts')")


def test_provisioning_again_changes_nothing(site: Site, distributed: Cluster) -> None:
    spec = embedded.ClusterSpec(distributed.id, 2, distributed.port, USER, PASSWORD)
    pids = [server.process_id(node) for node in distributed.nodes]
    assert embedded.provision(site, spec) == distributed.nodes
    assert [server.process_id(node) for node in distributed.nodes] == pids
    with log_in(distributed.coordinator) as user:
        user.execute(ACCOUNTS.encode())
        user.execute("SELECT stillhouse.drop_distributed_table('accounts')")


@pytest.mark.long
def test_killed_at_any_step_and_called_again_it_ends_right(site: Site) -> None:
    spec = warehouses.new_spec(2)
    arguments = [str(site.data), str(site.binaries.directory), spec.cluster_id, str(spec.number_of_node)]
    command = [sys.executable, "-m", "support.processes.provision_process", *arguments]
    deaths = 0
    # Each life gets further than the last, being spared what was done before.
    for fatal_step in (2, 7, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35, 38, 41, 44, 0):
        life = subprocess.run([*command, str(fatal_step)], cwd=TESTS, capture_output=True, timeout=120)
        assert life.returncode in (0, -signal.SIGKILL), life.stderr.decode()
        deaths += life.returncode != 0
    assert deaths > 8
    try:
        nodes = embedded.planned_nodes(site, spec.cluster_id)
        assert all(server.is_running(node) for node in nodes)
        with log_in(nodes[0], database="gaussdb") as user:
            user.execute(ACCOUNTS.encode())
            user.execute("INSERT INTO accounts SELECT i, 1 FROM generate_series(1, 100) i")
            assert user.execute("SELECT count(DISTINCT tableoid) FROM accounts").fetchall() == [(2,)]
    finally:
        embedded.destroy(site, spec.cluster_id)
    assert warehouses.servers_below(site.clusters / spec.cluster_id) == []


@pytest.mark.parametrize("sign", ["pgdata*", "server.log"])
def test_killed_while_a_program_is_at_work_it_ends_right(site: Site, sign: str) -> None:
    """initdb and pg_ctl outlive the service that has called them, and go on beside the next one's."""
    spec = warehouses.new_spec(1)
    arguments = [str(site.data), str(site.binaries.directory), spec.cluster_id, "1", "0"]
    command = [sys.executable, "-m", "support.processes.provision_process", *arguments]
    life = subprocess.Popen(command, cwd=TESTS)
    node_directory = site.clusters / spec.cluster_id / "cn"
    until(lambda: list(node_directory.glob(sign)), 30)
    life.kill()
    life.wait(30)
    try:
        (node,) = embedded.provision(site, spec)
        log_in(node).close()
    finally:
        embedded.destroy(site, spec.cluster_id)


def test_destroy_leaves_no_process_and_no_file(site: Site) -> None:
    cluster = warehouses.build(site, 1)
    directory = site.clusters / cluster.id
    assert len(warehouses.servers_below(directory)) == 1
    embedded.destroy(site, cluster.id)
    assert warehouses.servers_below(directory) == []
    assert not directory.exists()
    assert not Path(cluster.coordinator.socket).exists()
    embedded.destroy(site, cluster.id)


def test_destroy_refuses_what_is_not_its_own(site: Site, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    spec = warehouses.new_spec(1)
    (node,) = embedded.plan_nodes(site, spec.cluster_id, 1, spec.port)
    Path(node.directory).symlink_to(precious)
    with pytest.raises(InvalidInput, match="is not inside"):
        embedded.destroy(site, spec.cluster_id)
    with pytest.raises(InvalidInput):
        embedded.destroy(site, f"../{site.clusters.name}")
    assert precious.exists()
    Path(node.directory).unlink()
    embedded.destroy(site, spec.cluster_id)


def test_plans_never_share_an_address(site: Site) -> None:
    specs = [warehouses.new_spec(3) for _ in range(3)]
    planned = [embedded.plan_nodes(site, spec.cluster_id, spec.number_of_node, spec.port) for spec in specs]
    assert len({node.host for nodes in planned for node in nodes}) == 12
    for spec in specs:
        embedded.destroy(site, spec.cluster_id)


def test_a_place_where_somebody_listens_is_passed_over(site: Site) -> None:
    spec = warehouses.new_spec(1)
    (favourite,) = embedded.allocate_hosts(1, frozenset(), spec.cluster_id)
    with socket.create_server((favourite, spec.port)):
        (node,) = embedded.plan_nodes(site, spec.cluster_id, 1, spec.port)
    assert node.host != favourite
    embedded.destroy(site, spec.cluster_id)


def test_a_port_that_is_taken_everywhere_is_a_clear_error(site: Site) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ProvisionFailed, match=f"port {port} is in use"):
            embedded.plan_nodes(site, warehouses.new_spec(1).cluster_id, 1, port)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
def test_a_data_directory_behind_a_closed_one_is_a_clear_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(InvalidInput, match="may not pass through"):
        embedded.open_site(closed / "data")


def test_a_data_directory_with_too_long_a_path_is_a_clear_error(data_root: Path) -> None:
    deep = data_root / ("d" * 90)
    site = embedded.open_site(deep)
    with pytest.raises(InvalidInput, match="longer than 107 bytes"):
        embedded.provision(site, warehouses.new_spec(1))
