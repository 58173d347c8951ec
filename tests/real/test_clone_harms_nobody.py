"""A clone at work beside its live source, all of whose settings still point home: the source does not change."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import give
from stillhouse.postgres.sessions.session import SUPERUSER
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import until
from support.servers.warehouses import MakeWarehouse, log_in, rows
from support.snapshots.captures import Clone, Vault, capture_cluster, open_vault, restored_cluster
from support.snapshots.cuts import ask, superuser, tell

pytestmark = pytest.mark.long

SUBSCRIBED = "SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL"
WALSENDERS = "SELECT slot_name, active_pid FROM pg_replication_slots ORDER BY 1"


@dataclass(frozen=True)
class Home:
    """A live warehouse, and a directory outside of it into which it archives, logs and writes its process id."""

    cluster: Cluster
    outside: Path


@pytest.fixture(scope="module")
def home(site: Site, make_warehouse: MakeWarehouse) -> Home:
    cluster, _ = make_warehouse(2)
    outside = site.data / "outside"
    outside.mkdir()
    for node in cluster.nodes:
        for directory in (outside, *(outside / f"{node.name}-{use}" for use in ("archive", "log", "space"))):
            directory.mkdir(exist_ok=True)
            give(directory, site.binaries.account)
        configure(site, node, outside)
        furnish(node, outside)
    with log_in(cluster.coordinator) as user:
        user.execute(
            "SELECT stillhouse.create_distributed_table('public.accounts', 'id int, balance int', 'id')"
        )
        user.execute("INSERT INTO accounts SELECT i, 10 FROM generate_series(1, 1000) i")
    return Home(cluster, outside)


def configure(site: Site, node: Node, outside: Path) -> None:
    """In postgresql.conf, which a restore gives back as it was."""
    settings = {
        "wal_level": "logical",
        "archive_mode": "on",
        "archive_command": f"cp %p {outside}/{node.name}-archive/%f",
        "logging_collector": "on",
        "log_directory": f"{outside}/{node.name}-log",
        "log_checkpoints": "off",
        "external_pid_file": f"{outside}/{node.name}.pid",
        "autovacuum": "off",
    }
    with Path(node.directory, "pgdata", "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    server.restart(site.binaries, node, {"external_pid_file": settings["external_pid_file"]})


def furnish(node: Node, outside: Path) -> None:
    """A table in a tablespace, and a subscription of `postgres` to `gaussdb`, at work."""
    with superuser(node, "gaussdb") as publisher:
        tell(publisher, "CREATE TABLE public.news (what text)")
        tell(publisher, "CREATE PUBLICATION news FOR TABLE public.news")
        ask(publisher, "SELECT pg_create_logical_replication_slot('news', 'pgoutput')")
    with superuser(node) as connection:
        tell(connection, f"CREATE TABLESPACE outside LOCATION '{outside}/{node.name}-space'")
        tell(connection, "CREATE TABLE public.housed TABLESPACE outside AS SELECT generate_series(1, 1000) i")
        tell(connection, "CREATE TABLE public.news (what text)")
        tell(
            connection,
            f"CREATE SUBSCRIPTION news CONNECTION 'host={node.socket} port={node.port} user=stillhouse"
            f" password={node.password(SUPERUSER)} dbname=gaussdb' PUBLICATION news"
            " WITH (create_slot = false, slot_name = 'news')",
        )
    until(lambda: rows(node, SUBSCRIBED) == [(1,)], 20)


def fingerprint(home: Home) -> dict[str, object]:
    """Every file of relations and all that lies outside, by content; who is connected to which slot."""
    found: dict[str, object] = {}
    for node in home.cluster.nodes:
        with superuser(node) as connection:
            tell(connection, "CHECKPOINT")
        found[f"{node.name} slots"] = rows(node, WALSENDERS)
        found[f"{node.name} end of WAL"] = rows(node, "SELECT pg_walfile_name(pg_current_wal_lsn())")
        data = Path(node.directory, "pgdata")
        for path in sorted([*(data / "base").rglob("*"), *(data / "global").rglob("*")]):
            if path.is_file() and path.name not in ("pg_control", "pg_internal.init"):
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(home.outside.rglob("*")):
        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
    return found


def quiet(home: Home) -> None:
    """Until nothing of the source's own doing is outstanding: what reads leave behind, and WAL to archive."""
    with log_in(home.cluster.coordinator) as user:
        user.execute("SELECT sum(balance) FROM accounts")
    for node in home.cluster.nodes:
        for database in ("postgres", "gaussdb"):
            with superuser(node, database) as connection:
                tell(connection, "VACUUM (FREEZE)")
        with superuser(node) as connection:
            tell(connection, "SELECT pg_switch_wal()")
        ready = Path(node.directory, "pgdata", "pg_wal", "archive_status")
        until(lambda ready=ready: not [*ready.glob("*.ready")], 20)


def use(clone: Clone) -> None:
    """Writes through the coordinator and on every node, vacuum, checkpoints, new WAL segments."""
    with log_in(clone.cluster.coordinator) as user:
        user.execute("UPDATE accounts SET balance = 0")
        user.execute("INSERT INTO accounts SELECT i, 5 FROM generate_series(2000, 4000) i")
    for node in clone.cluster.nodes:
        with superuser(node) as connection:
            tell(connection, "DELETE FROM public.housed")
            tell(connection, "VACUUM FULL public.housed")
            tell(connection, "INSERT INTO public.housed VALUES (1)")
            tell(connection, "SELECT pg_switch_wal()")
            tell(connection, "CHECKPOINT")
        with superuser(node, "gaussdb") as connection:
            tell(connection, "INSERT INTO public.news VALUES ('of the clone')")
            tell(connection, "VACUUM")


@pytest.fixture(scope="module")
def vault(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return open_vault(tmp_path_factory.mktemp("vault"), home.cluster)


def test_a_clone_at_work_does_not_change_its_source_by_a_byte(site: Site, home: Home, vault: Vault) -> None:
    shot = capture_cluster(home.cluster, vault)
    quiet(home)
    before = fingerprint(home)
    with restored_cluster(site, home.cluster, shot, vault) as clone:
        use(clone)
        assert changes(before, fingerprint(home)) == []
        for node in clone.cluster.nodes:
            assert rows(node, SUBSCRIBED) == [(0,)]
            assert rows(node, "SELECT archived_count, failed_count FROM pg_stat_archiver") == [(0, 0)]
    # Removed, with its tablespaces and whatever its servers did at their end.
    assert changes(before, fingerprint(home)) == []
    with log_in(home.cluster.coordinator) as user:
        assert user.execute("SELECT count(*), sum(balance) FROM accounts").fetchall() == [(1000, 10000)]


def changes(before: dict[str, object], after: dict[str, object]) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
