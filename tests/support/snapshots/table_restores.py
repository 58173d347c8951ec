"""A cluster, a clone of it as a snapshot would give, and restores of tables from the one into the other."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.table_restore import TableName, TableRestore
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.clone.rewire import rewire
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.tables.exchange import Share, exchange, settle
from stillhouse.warehouse.tables.load import clear, load
from stillhouse.warehouse.tables.marks import operation_prefix
from stillhouse.warehouse.tables.sources import gather_cluster
from support.databases.writers import until
from support.servers.warehouses import take_in

DATABASE = "gaussdb"
_PRISTINE = "pristine"
TRACES = """
    SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^stillhouse_'
    UNION ALL SELECT rolname FROM pg_roles WHERE rolname ~ '^stillhouse_tables_'
    UNION ALL SELECT gid FROM pg_prepared_xacts
    UNION ALL SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^stillhouse_'
    UNION ALL SELECT relname FROM pg_class WHERE relname ~ '^stillhouse_'
"""


def pairs(*names: str) -> TableRestore:
    """'a.t' into itself, 'a.t=b.u' under another name; a name ends at the first dot."""

    def one(name: str) -> TableName:
        schema, _, table = name.partition(".")
        return TableName(schema, table)

    split = [name.partition("=") for name in names]
    return TableRestore(DATABASE, tuple((one(source), one(target or source)) for source, _, target in split))


class Bench:
    """Gathering changes the clone, so each restore has one that is as it was."""

    def __init__(self, site: Site, live: Cluster, clone: tuple[Node, ...]) -> None:
        self.site, self.live, self.clone = site, live, clone

    def refresh(self) -> None:
        """The clone as it was."""
        for node in self.clone:
            _run(
                node,
                f"DROP DATABASE IF EXISTS {DATABASE}",
                f"CREATE DATABASE {DATABASE} TEMPLATE {_PRISTINE}",
            )

    def copy(self, wanted: TableRestore) -> tuple[str, dict[str, Share], list[str]]:
        """All but the swap: the operation's prefix, what is to be swapped, the notes."""
        self.refresh()
        prefix = operation_prefix(new_uuid())
        gathered = gather_cluster(self.clone, self.live.nodes, wanted, prefix)
        notes: list[str] = []
        live = {node.name: node for node in self.live.nodes}
        for node in self.clone:
            if node.name in gathered:
                one = gathered[node.name]
                given = load(
                    self.site.binaries,
                    node,
                    live[node.name],
                    wanted.database,
                    one,
                    prefix,
                    self.live.user_name,
                    check=lambda: None,
                    show=lambda done: None,
                )
                notes += [*one.notes, *given]
        return prefix, {name: Share(one.hidden, one.tables) for name, one in gathered.items()}, notes

    def restore(self, *names: str) -> list[str]:
        return self.restore_wanted(pairs(*names))

    def restore_wanted(self, wanted: TableRestore) -> list[str]:
        """As the flow does it; the notes. Nothing is left behind, whatever comes of it."""
        try:
            prefix, shares, notes = self.copy(wanted)
            notes += exchange(self.live.nodes, wanted.database, prefix, shares)
        finally:
            self.clear()
        return notes

    def clear(self) -> None:
        settle(self.live.nodes)
        for node in self.live.nodes:
            clear(node)
        assert self.traces() == []

    def traces(self) -> list[str]:
        """What table restores have left on the live nodes."""
        found: list[str] = []
        for node in self.live.nodes:
            with closing(session.connect(node, DATABASE)) as connection:
                found += [f"{node.name}: {one}" for (one,) in connection.execute(TRACES).fetchall()]
        return found

    def sql(self, statements: str, node: Node | None = None) -> list[tuple[Any, ...]]:
        """On the live coordinator, as superuser."""
        with closing(session.connect(node or self.live.coordinator, DATABASE)) as connection:
            cursor = connection.execute(statements.encode())
            return cursor.fetchall() if cursor.description else []

    def dump(self, node: Node, *tables: str) -> list[str]:
        """Tables as pg_dump tells them, rights and rows and all, line by line and sorted."""
        where = ["--host", node.socket, "--port", str(node.port), "--username", session.SUPERUSER]
        named = [f"--table={table}" for table in tables]
        done = self.site.binaries.run_at(node, "pg_dump", *where, *named, DATABASE, timeout=60)
        assert done.returncode == 0, done.stderr
        ours = [line for line in done.stdout.splitlines() if line and not line.startswith(("--", "\\"))]
        return sorted(ours)


@contextmanager
def bench(site: Site, live: Cluster) -> Iterator[Bench]:
    """The clone is the cluster as it is now."""
    clone_id = new_uuid()
    clone = embedded.plan_nodes(site, clone_id, live.number_of_node, live.port)
    embedded.stop_all(site, live.nodes)
    for old, new in zip(live.nodes, clone, strict=True):
        subprocess.run(["cp", "-a", old.directory, new.directory], check=True)
    embedded.start_all(site, live.nodes)
    for node in clone:
        take_in(site, node, {"listen_addresses": "", "fsync": "off"})
    rewire(clone, live.user_name, live.nodes)
    for node in clone:
        _run(node, f"ALTER DATABASE {DATABASE} RENAME TO {_PRISTINE}")
    yield Bench(site, live, clone)
    embedded.destroy(site, clone_id)


@contextmanager
def commits_wait(node: Node) -> Iterator[None]:
    """What commits or prepares there is durable at once, and not told of: it waits for a standby that never comes."""
    settings = ("ALTER SYSTEM SET synchronous_standby_names = 'never'", "SELECT pg_reload_conf()")
    back = ("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    with closing(session.connect(node, "postgres")) as connection:
        for statement in settings:
            connection.execute(statement)
        until(lambda: connection.execute("SHOW synchronous_standby_names").fetchall() == [("never",)], 20)
        try:
            yield
        finally:
            for statement in back:
                connection.execute(statement)
            until(lambda: connection.execute("SHOW synchronous_standby_names").fetchall() == [("",)], 20)


def _run(node: Node, *statements: str) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        for statement in statements:
            connection.execute(statement.encode())
