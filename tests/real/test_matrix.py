"""The matrix: on each version, one cluster with every kind of database and every imposed setting, through one pass of
capture, cut, restore, proof and table restore. Each cell is an assertion of its own.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_uuid
from stillhouse.postgres.sessions.databases import Database, Kind, databases_of, enter, reopened
from stillhouse.warehouse.clone import foreign_servers, quarantine
from stillhouse.warehouse.clone.inspection import inspect
from stillhouse.warehouse.clone.rewire import Rewired, rewire
from stillhouse.warehouse.cluster import contents, embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cut import cut
from stillhouse.warehouse.proof.compare_with_cut import Compared, compare_at_cut
from stillhouse.warehouse.proof.structure import Structure, check_structure
from stillhouse.warehouse.tables.exchange import Share, exchange, settle
from stillhouse.warehouse.tables.load import clear, load
from stillhouse.warehouse.tables.marks import operation_prefix
from stillhouse.warehouse.tables.sources import gather_cluster
from support.databases.odd_cluster import ON_THE_SERVER, RAW, WIRED, furnish
from support.servers import warehouses
from support.snapshots.captures import (
    HASTY,
    Clone,
    Shot,
    Vault,
    capture_cluster,
    lines,
    open_vault,
    planned_clone,
    recover,
    release,
    restore_files,
)
from support.snapshots.cuts import ask, superuser, tell, without_autovacuum
from support.snapshots.table_restores import TRACES, pairs

pytest_plugins = ["support.servers.versions"]
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("matrix")]

OPEN = {"postgres", "gaussdb", "mine", "crowded", "hostile", "in_sql_ascii", "lost", RAW}
KINDS = {
    "template0": Kind.CLOSED,
    "template1": Kind.TEMPLATE,
    "modelled": Kind.TEMPLATE,
    "shut": Kind.CLOSED,
    "half": Kind.INVALID,
    **dict.fromkeys(OPEN, Kind.OPEN),
}
# The reader is no superuser, so a connection limit of 0 counts for it.
READ = OPEN - {"lost", "crowded"}
_LOCKED = """
    SELECT d.datname, l.mode
      FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_database d ON d.oid = l.database
     WHERE a.application_name = 'stillhouse cut' AND l.locktype = 'relation' AND l.granted
       AND l.mode IN ('ShareLock', 'ExclusiveLock', 'ShareRowExclusiveLock')
"""
_EVENT_TRIGGERS = "SELECT evtname::text, evtenabled::text FROM pg_event_trigger ORDER BY 1"
_OPTIONS = """
    SELECT (SELECT option_value FROM pg_options_to_table(srvoptions) WHERE option_name = 'host'),
           (SELECT option_value FROM pg_options_to_table(umoptions) WHERE option_name = 'password')
      FROM pg_user_mappings m JOIN pg_foreign_server s ON s.oid = m.srvid WHERE s.srvname = 'far'
"""


@dataclass
class Pass:
    """The results of one pass. `locked` are the databases in which the gate held locks when a point was made."""

    source: Cluster
    vault: Vault
    shots: list[Shot] = field(default_factory=list)
    locked: set[str] = field(default_factory=set)
    restored: Cluster | None = None
    rewired: Rewired = field(default_factory=Rewired)
    compared: dict[str, Compared] = field(default_factory=dict)
    structure: dict[str, Structure] = field(default_factory=dict)
    inspected: list[str] = field(default_factory=list)
    brought_back: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def clone(self) -> Cluster:
        assert self.restored is not None
        return self.restored

    def lines(self, node: str, kind: str) -> list[dict[str, Any]]:
        captured = self.shots[-1].captured[node]
        return [dict(line) for line in lines(self.vault, captured) if line["t"] == kind]


@pytest.fixture(scope="module")
def passed(version_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pass]:
    source = warehouses.build(version_site, 2)
    try:
        for node in source.nodes:
            without_autovacuum(node)
        furnish(source)
        seen = Pass(source, open_vault(tmp_path_factory.mktemp("vault"), source))
        capture_twice(seen)
        change_tables(source)
        with planned_clone(version_site, source) as clone:
            restore_and_prove(version_site, seen, clone)
            if version_site.binaries.major != 16:
                bring_tables_back(version_site, seen)
            release(version_site, clone)
            yield seen
    finally:
        embedded.destroy(version_site, source.id)


def capture_twice(seen: Pass) -> None:
    mark_nodes = cut.mark_nodes

    def look_and_mark(*arguments: Any) -> Any:
        with superuser(seen.source.coordinator) as connection:
            seen.locked |= {name for name, _ in ask(connection, _LOCKED)}
        return mark_nodes(*arguments)

    with mock.patch.object(cut, "mark_nodes", look_and_mark):
        seen.shots.append(capture_cluster(seen.source, seen.vault))
        seen.shots.append(
            capture_cluster(seen.source, seen.vault, base=seen.shots[0], fingerprint_seconds=60)
        )


def change_tables(cluster: Cluster) -> None:
    for node, table in [(cluster.coordinator, "kept"), *((node, "spread") for node in cluster.data_nodes)]:
        with superuser(node, "gaussdb") as connection:
            tell(connection, f"UPDATE public.{table} SET v = 'now'")


def restore_and_prove(site: Site, seen: Pass, clone: Clone) -> None:
    restore_files(site, clone, seen.shots[-1], seen.vault)
    with quarantine.own_network(site, clone.cluster.nodes) as inside:
        recover(inside, seen.source, clone, seen.shots[-1], HASTY)
    seen.restored = clone.cluster
    seen.rewired = rewire(clone.cluster.nodes, seen.source.user_name, seen.source.nodes)
    for node in clone.cluster.nodes:
        foreign_servers.unpark(node)

    def look(node: Node) -> tuple[Compared, Structure, list[str]]:
        (witness,) = seen.lines(node.name, "witness")
        tables = seen.lines(node.name, "table")
        compared = compare_at_cut(node, witness["databases"], tables, lambda: None)
        return compared, check_structure(node), inspect(node)

    with ThreadPoolExecutor(len(clone.cluster.nodes)) as pool:
        for node, found in zip(clone.cluster.nodes, pool.map(look, clone.cluster.nodes), strict=True):
            seen.compared[node.name], seen.structure[node.name], inspected = found
            seen.inspected += inspected


def bring_tables_back(site: Site, seen: Pass) -> None:
    """Restore tables as the flow does; returns the rows of the tables, and the things that it left behind."""
    live = {node.name: node for node in seen.source.nodes}
    wanted, prefix = pairs("public.kept", "public.spread"), operation_prefix(new_uuid())
    gathered = gather_cluster(seen.clone.nodes, seen.source.nodes, wanted, prefix)
    for node in seen.clone.nodes:
        one, user = gathered[node.name], seen.source.user_name
        to = live[node.name]
        load(
            site.binaries, node, to, "gaussdb", one, prefix, user, check=lambda: None, show=lambda done: None
        )
    shares = {name: Share(one.hidden, one.tables) for name, one in gathered.items()}
    exchange(seen.source.nodes, "gaussdb", prefix, shares)
    settle(seen.source.nodes)
    for node in seen.source.nodes:
        clear(node)
        table = "kept" if node is seen.source.coordinator else "spread"
        with superuser(node, "gaussdb") as connection:
            counted = f"SELECT v, count(*) FROM public.{table} GROUP BY v"
            seen.brought_back[node.name] = ask(connection, counted)
            seen.brought_back[f"{node.name} traces"] = ask(connection, TRACES)


def by_name(node: Node) -> dict[str, Database]:
    return {database.name: database for database in databases_of(node)}


# -- capture -----------------------------------------------------------------------------------------------------------


def test_6_the_second_capture_builds_on_the_first(passed: Pass) -> None:
    """A base proves that the mark was written and found, and on 17 and later that the summaries were read."""
    first, second = passed.shots
    for name, captured in second.captured.items():
        assert captured.base == first.captured[name].manifest.id, captured.whole_because


def test_9_the_mark_was_left_although_the_server_forbids_ddl_and_writes(passed: Pass) -> None:
    for name in passed.shots[-1].captured:
        assert "unmarked" not in passed.lines(name, "node")[0]


def test_7_every_database_has_a_fingerprint_of_its_tables_or_a_reason(passed: Pass) -> None:
    (witness,) = passed.lines("cn", "witness")
    assert set(witness["databases"]) == READ, witness["why"]
    assert witness["left_out"] == {
        "template1": "its kind is template",
        "modelled": "its kind is template",
        "shut": "its kind is closed",
        "half": "its kind is invalid",
        "lost": "it could not be entered",
        "crowded": "node cn: stillhouse_reader cannot enter database crowded: its connection limit is 0",
    }


@pytest.mark.parametrize(
    ("database", "schema", "table"),
    [("mine", "public", "own"), ("hostile", "public", "own"), (RAW, RAW, RAW)],
    ids=["no right to connect", "all that can be imposed", "not UTF-8"],
)
def test_6_tables_are_read_wherever_they_are(passed: Pass, database: str, schema: str, table: str) -> None:
    where = ("in_sql_ascii" if database == RAW else database, schema, table)
    found = {(line["database"], line["schema"], line["name"]): line for line in passed.lines("cn", "table")}
    assert found[where].get("rows") == 10, found[where]


# -- cut ---------------------------------------------------------------------------------------------------------------


def test_7_the_gate_holds_open_and_template_databases(passed: Pass) -> None:
    assert passed.locked == {"gaussdb", "modelled"}


# -- restore -----------------------------------------------------------------------------------------------------------


def test_7_each_database_is_of_its_kind_again(passed: Pass) -> None:
    kinds = {name: database.kind for name, database in by_name(passed.clone.coordinator).items()}
    assert kinds == {**KINDS, "lost": Kind.CLOSED}


@pytest.mark.parametrize("database", WIRED)
def test_7_each_database_leads_to_the_clones_own_nodes(passed: Pass, database: str) -> None:
    node, data_node = passed.clone.coordinator, passed.clone.data_nodes[0]
    with reopened(node, by_name(node)[database]) as opened, closing(enter(node, opened)) as connection:
        ((host, password),) = ask(connection, _OPTIONS)
    assert host == data_node.host and password != "old"


def test_7_a_closed_database_of_a_data_node_leads_to_the_clones_own_nodes(passed: Pass) -> None:
    node, other = passed.clone.data_nodes
    with reopened(node, by_name(node)["shut"]) as opened, closing(enter(node, opened)) as connection:
        ((host, _),) = ask(connection, _OPTIONS)
    assert host == other.host


def test_7_what_we_could_not_see_into_is_shut_and_named(passed: Pass) -> None:
    named = {(node, name) for node, name in passed.rewired.closed if name not in ("template0",)}
    assert named == {("cn", "half"), ("cn", "lost"), ("dn1", "half"), ("dn2", "half")}


def test_7_closed_and_half_dropped_databases_are_told_of(passed: Pass) -> None:
    for told in ("cn: database shut allows no connections", "dn1: database half was half dropped"):
        assert any(sentence.startswith(told) for sentence in passed.inspected), passed.inspected


def test_6_event_triggers_are_as_they_were(passed: Pass) -> None:
    for database in ("postgres", "gaussdb", "hostile"):
        for there, here in zip(passed.source.nodes, passed.clone.nodes, strict=True):
            with superuser(there, database) as source, superuser(here, database) as clone:
                assert ask(clone, _EVENT_TRIGGERS) == ask(source, _EVENT_TRIGGERS)
                if database != "gaussdb":
                    assert ("forbid", "A") in ask(clone, _EVENT_TRIGGERS)


def test_6_no_login_trigger_ran_as_the_service(passed: Pass) -> None:
    for node in (*passed.source.nodes, *passed.clone.nodes):
        for database in ("postgres", "gaussdb", "hostile"):
            with superuser(node, database) as connection:
                if connection.info.server_version < 170000:
                    pytest.skip("login triggers came with 17")
                assert ask(connection, "SELECT who FROM public.seen") == []


def test_6_what_was_imposed_is_imposed_again(passed: Pass) -> None:
    with superuser(passed.clone.coordinator) as connection:
        files = {
            name.lower() for (name,) in ask(connection, "SELECT name FROM pg_file_settings WHERE applied")
        }
        imposed = ask(connection, "SELECT count(*) FROM pg_db_role_setting")
    with superuser(passed.source.coordinator) as connection:
        assert imposed == ask(connection, "SELECT count(*) FROM pg_db_role_setting")
    assert files >= {name.lower() for name in ON_THE_SERVER} - {"transaction_timeout"}


def test_8_a_name_that_is_not_utf8_is_carried_and_shown_escaped(passed: Pass) -> None:
    node = passed.clone.coordinator
    assert RAW in by_name(node)
    with closing(enter(node, by_name(node)["in_sql_ascii"])) as connection:
        assert connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [RAW]).fetchall() == [()]
    assert r"caf\xe9" in contents.list_databases(node)


# -- proof -------------------------------------------------------------------------------------------------------------


def test_6_nothing_differs_and_nothing_is_damaged(passed: Pass) -> None:
    for name in passed.compared:
        assert passed.compared[name].findings == []
        assert passed.structure[name].findings == []


def test_7_the_proof_says_what_it_could_not_look_into(passed: Pass) -> None:
    unchecked = passed.compared["cn"].unchecked + passed.structure["cn"].unchecked
    assert unchecked and all(
        (sentence.startswith("cn: lost: ") and "locale" in sentence)
        or (sentence.startswith("cn: crowded: ") and "connection limit is 0" in sentence)
        for sentence in unchecked
    ), unchecked
    assert [note for note in passed.structure["cn"].notes if "half dropped" in note]
    for name in ("dn1", "dn2"):
        assert passed.compared[name].unchecked == passed.structure[name].unchecked == []


def test_6_every_fingerprint_was_compared(passed: Pass) -> None:
    for name, compared in passed.compared.items():
        with_rows = [line for line in passed.lines(name, "table") if "rows" in line]
        assert compared.tables == len(with_rows) > 0


# -- restore of tables -------------------------------------------------------------------------------------------------


def test_6_tables_come_back(passed: Pass) -> None:
    if not passed.brought_back:
        pytest.skip("npm's package has no pg_dump, and 18's pg_restore speaks to no server before 17")
    assert passed.brought_back["cn"] == [("then", 1000)]
    spread = [row for name in ("dn1", "dn2") for row in passed.brought_back[name]]
    assert {v for v, _ in spread} == {"then"} and sum(number for _, number in spread) == 1000


def test_6_nothing_is_left_of_their_restore(passed: Pass) -> None:
    for node in passed.source.nodes:
        assert passed.brought_back.get(f"{node.name} traces", []) == []
