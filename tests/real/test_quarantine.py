"""A clone that is not open yet does nothing by itself, and nothing of it reaches out: neither code nor wires."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stillhouse.control.restores.recovery import _without_network
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.host import network, server
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.warehouse.clone import foreign_servers, quarantine
from stillhouse.warehouse.clone.release import release
from stillhouse.warehouse.clone.rewire import rewire
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.proof.structure import check_structure
from support.processes.service import PASSWORD, Service, serving
from support.servers import warehouses
from support.servers.fifteen import PG_BIN, needs_fifteen
from support.servers.warehouses import MakeWarehouse, rows
from support.snapshots.captures import (
    HASTY,
    Clone,
    capture_cluster,
    open_vault,
    planned_clone,
    recover,
    restore_files,
    restored_cluster,
)
from support.snapshots.cuts import superuser, tell

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("quarantine")]

needs_network = pytest.mark.skipif(bool(network.why_none()), reason=network.why_none())

# The attack recognises a quarantine by this, and does nothing at home or in a clone that is open.
REACH = """
    CREATE FUNCTION public.reach(way text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        IF pg_catalog.current_setting('listen_addresses') <> '' THEN RETURN; END IF;
        BEGIN
            PERFORM public.dblink_exec('{home} connect_timeout=3',
                                       format('INSERT INTO loot VALUES (%L)', way || ' dblink'));
        EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN INSERT INTO public.loot_at_home VALUES (way || ' fdw'); EXCEPTION WHEN OTHERS THEN NULL; END;
    END $$;
    CREATE FUNCTION public.on_event() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.reach(tg_event); END $$;
    CREATE FUNCTION public.of_index(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.reach('index'); RETURN id; END $$
"""
# An ordinary user can still do this where the host gives no network: a function of his own, in an index of his own,
# dials by itself while a proof looks its rows up.
STILL_OPEN_WITHOUT_NETWORK = {"index dblink"}


def plant(node: Node, major: int) -> None:
    """Everything that runs by itself, and writes to where the cluster is at home."""
    home = f"host={node.host} port={node.port} dbname=gaussdb user=dbadmin password={PASSWORD}"
    with psycopg.connect(home, autocommit=True) as user:
        user.execute("CREATE TABLE loot (way text)")
    with superuser(node, "gaussdb") as operator:
        tell(operator, "CREATE EXTENSION dblink SCHEMA public")
        tell(operator, "CREATE EXTENSION postgres_fdw SCHEMA public")
        tell(
            operator,
            f"CREATE SERVER home FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{node.host}',"
            f" port '{node.port}', dbname 'gaussdb')",
        )
        tell(
            operator,
            f"CREATE USER MAPPING FOR PUBLIC SERVER home OPTIONS (user 'dbadmin', password '{PASSWORD}')",
        )
        tell(
            operator,
            "CREATE FOREIGN TABLE public.loot_at_home (way text) SERVER home OPTIONS (table_name 'loot')",
        )
        tell(operator, "GRANT INSERT ON public.loot_at_home TO PUBLIC")
        # Some operators let their users dial: then only a network of its own keeps a clone at home.
        tell(operator, "GRANT EXECUTE ON FUNCTION public.dblink_exec(text, text) TO dbadmin")
        tell(operator, "CREATE SERVER no_address FOREIGN DATA WRAPPER postgres_fdw")
        tell(
            operator,
            "CREATE SERVER stranger FOREIGN DATA WRAPPER postgres_fdw"
            " OPTIONS (host '192.0.2.7', application_name 'a=b,c')",
        )
        tell(operator, REACH.format(home=home))
        tell(operator, "CREATE EVENT TRIGGER at_ddl ON ddl_command_start EXECUTE FUNCTION public.on_event()")
        tell(operator, "ALTER EVENT TRIGGER at_ddl ENABLE ALWAYS")
        if major >= 17:
            tell(operator, "CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION public.on_event()")
            tell(operator, "ALTER EVENT TRIGGER at_login ENABLE ALWAYS")
    with psycopg.connect(home, autocommit=True) as user:
        user.execute("CREATE TABLE bait AS SELECT generate_series(1, 100) AS id")
        user.execute("CREATE INDEX ON bait (public.of_index(id))")


def loot(node: Node) -> set[str]:
    return {way for (way,) in rows(node, "SELECT way FROM public.loot", "gaussdb")}


class Attacker:
    """A service, and the snapshot of a cluster on it that attacks its own home from every clone."""

    def __init__(self, service: Service, major: int) -> None:
        self.service = service
        cluster = service.create_cluster("attacker", 1)
        (self.home,) = service.nodes(cluster)
        plant(self.home, major)
        self.snapshot = service.request_snapshot(cluster, "armed")
        assert service.ended(self.snapshot) == "AVAILABLE"

    def restore(self, name: str) -> Node:
        clone = self.service.restore(self.snapshot, name, {"work_mem": "6MB"})
        assert self.service.settled(clone)["status"] == "AVAILABLE"
        return self.service.nodes(clone)[0]

    def prove(self) -> dict[str, Any]:
        path = f"/stillhouse/v1/{{p}}/snapshots/{self.snapshot}/proof"
        assert self.service.call("POST", path.removesuffix("of") + "ve").status == 202

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.service.call("GET", path).json["proof"]
            return None if found["state"] == "RUNNING" else found

        proof: dict[str, Any] = self.service.until("the proof to end", look)
        return proof


@needs_network
def test_no_code_of_a_clone_s_reaches_its_source(data_root: Path) -> None:
    with serving(data_root / "attacked") as service:
        attacker = Attacker(service, 18)
        clone = attacker.restore("clone")
        assert attacker.prove()["state"] == "PROVED"
        assert loot(attacker.home) == set()
        assert rows(clone, "SHOW work_mem") == [("6MB",)]
        # The clone works by itself again: triggers fire, and the server leads to the clone itself.
        triggers = "SELECT evtname, evtenabled FROM pg_event_trigger ORDER BY 1"
        assert rows(clone, triggers, "gaussdb") == [("at_ddl", "A"), ("at_login", "A")]
        options = dict(rows(clone, "SELECT srvname, srvoptions FROM pg_foreign_server", "gaussdb"))
        assert options == {
            "home": [f"host={clone.host}", f"port={clone.port}", "dbname=gaussdb"],
            "no_address": None,
            "stranger": ["host=192.0.2.7", "application_name=a=b,c"],
        }


@pytest.mark.parametrize("major", [18, pytest.param(15, marks=needs_fifteen)])
def test_without_a_network_of_its_own_a_clone_has_no_way_of_ours_out(
    site: Site, major: int, tmp_path: Path
) -> None:
    pg_bin = PG_BIN if major == 15 else None
    binaries = find_binaries(site.data, site.binaries.account, pg_bin=pg_bin)
    here = replace(site, binaries=binaries, clone_network="host")
    home = warehouses.build(here, 1)
    plant(home.coordinator, major)
    vault = open_vault(tmp_path, home)
    shot = capture_cluster(home, vault)

    def prove(clone: Clone) -> None:
        (node,) = clone.cluster.nodes
        where = "SELECT DISTINCT srvoptions[1:2] FROM pg_foreign_server"
        for _ in range(2):  # as they came out of recovery, and parked again by whoever was killed
            assert rows(node, where, "gaussdb") == [(["host=/dev/null/stillhouse", "port=1"],)]
            foreign_servers.park(node)
        assert rows(node, where, "gaussdb") == [(["host=/dev/null/stillhouse", "port=1"],)]
        rewire(clone.cluster.nodes, home.user_name, home.nodes)
        foreign_servers.silence(node)
        assert check_structure(node, lambda: None).findings == []
        ways.append(loot(home.coordinator))

    ways: list[set[str]] = []
    with restored_cluster(here, home, shot, vault, in_quarantine=prove):
        assert ways == [STILL_OPEN_WITHOUT_NETWORK], "and so the attack itself works"
    embedded.destroy(here, home.id)


def test_a_service_that_gives_no_network_says_so(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_CLONE_NETWORK", "host")
    with serving(data_root / "networkless") as service:
        log = service.log.read_text()
        assert "a clone in quarantine has no network of its own here" in log
        assert "STILLHOUSE_CLONE_NETWORK is host" in log


def test_a_restore_without_a_network_says_so(site: Site) -> None:
    (said,) = _without_network(replace(site, clone_network="host"))
    assert said.startswith("while it was recovered, the clone had no network of its own")
    assert _without_network(site) == [] or network.why_none() in _without_network(site)[0]


# Titles of processes begin so. A worker without a connection to a database is not in pg_stat_activity.
PROCESSES = (
    "background writer",
    "checkpointer",
    "io worker",
    "startup",
    "stillhouse ",  # a session of ours
    "walsummarizer",
    "walwriter",
)
INHERITED = {
    "shared_preload_libraries": "pg_prewarm",
    "pg_prewarm.autoprewarm": "on",
    "autovacuum": "on",
    "track_commit_timestamp": "on",
    "max_replication_slots": "33",
    "recovery_min_apply_delay": "1h",
    "log_filename": "elsewhere.log",
}


@pytest.fixture(scope="module")
def lively(site: Site, make_warehouse: MakeWarehouse) -> Cluster:
    """Two data nodes, whose servers do things by themselves."""
    cluster, _ = make_warehouse(2)
    for node in cluster.nodes:
        with Path(node.directory, "pgdata", "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in INHERITED.items())
        server.restart(site.binaries, node)
    return cluster


@dataclass(frozen=True)
class Seen:
    """A clone of it, in quarantine, killed and taken up again there: what it was like, and whose network it was in."""

    clone: Clone
    processes: set[str]
    settings: dict[str, str]
    networks: list[set[int]]
    home: set[int]


def titles(postmaster: int) -> set[str]:
    """The titles of a server's processes, without what all have in common."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            _, _, fields = (process / "stat").read_text().rpartition(")")
            if int(fields.split()[1]) == postmaster:
                found.add((process / "cmdline").read_text().strip("\0 ").removeprefix("postgres: "))
    return found


def inode(process: int | str) -> int:
    return Path(f"/proc/{process}/ns/net").stat().st_ino


@pytest.fixture(scope="module")
def seen(site: Site, lively: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    vault = open_vault(tmp_path_factory.mktemp("lively"), lively)
    shot = capture_cluster(lively, vault)
    with planned_clone(site, lively) as clone:
        nodes, networks = clone.cluster.nodes, []

        def look() -> None:
            networks.append({inode(server.process_id(node) or 0) for node in nodes})

        restore_files(site, clone, shot, vault)
        with quarantine.own_network(site, nodes) as inside:
            recover(inside, lively, clone, shot, HASTY)
            look()
        # The service is gone, and with it one of the servers; another is one that an earlier run has released.
        server.stop(site.binaries, nodes[0], "immediate")
        release(site.binaries, nodes[1], clone.restored[nodes[1].name].head["settings"])
        look_outside = inode(server.process_id(nodes[1]) or 0)
        with quarantine.own_network(site, nodes) as inside:
            recover(inside, lively, clone, shot, HASTY)
            look()
            processes = titles(server.process_id(nodes[1]) or 0)
            settings = dict(rows(nodes[1], "SELECT name, setting FROM pg_settings"))
        for node in nodes:
            release(site.binaries, node, clone.restored[node.name].head["settings"])
        look()
        yield Seen(clone, processes, settings, networks, {look_outside, inode("self")})


@needs_network
def test_all_nodes_of_a_clone_are_in_one_network_until_they_are_released(seen: Seen) -> None:
    first, again, released = seen.networks
    assert len(first) == 1 and first == again, "whoever goes on finds the network by the servers in it"
    assert seen.home == released == {inode("self")} != first


def test_nothing_works_by_itself_in_quarantine(seen: Seen) -> None:
    assert any(one.startswith("checkpointer") for one in seen.processes)
    assert [one for one in seen.processes if not one.startswith(PROCESSES)] == []
    assert seen.settings["autovacuum"] == "off"
    assert seen.settings["max_worker_processes"] == seen.settings["max_logical_replication_workers"] == "0"


def test_what_data_need_is_inherited_in_quarantine_and_nothing_else(seen: Seen) -> None:
    needed = (
        "shared_preload_libraries",
        "pg_prewarm.autoprewarm",
        "track_commit_timestamp",
        "max_replication_slots",
    )
    assert {name: seen.settings[name] for name in needed} == {name: INHERITED[name] for name in needed}
    assert seen.settings["recovery_min_apply_delay"] == "0"
    assert seen.settings["log_filename"] != INHERITED["log_filename"]


def test_a_released_clone_has_its_source_s_settings(seen: Seen) -> None:
    for node in seen.clone.cluster.nodes:
        settings = dict(rows(node, "SELECT name, setting FROM pg_settings"))
        kept = {name: value for name, value in INHERITED.items() if not name.startswith("recovery")}
        assert {name: settings[name] for name in kept} == kept
        assert {path.name for path in Path(node.directory).iterdir()} >= {"pgdata", "tablespaces"}
        assert not [*Path(node.directory).glob("*.conf")]
