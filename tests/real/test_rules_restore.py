"""A restore: into its own places, through the quarantine, to the cut and not a byte further."""

import multiprocessing
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import RestoreFailed
from stillhouse.node.restore.rebuild import Restored, RestoreTask, restore
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import give
from stillhouse.warehouse.clone import quarantine
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import inner_password, until
from support.servers.warehouses import PASSWORD, MakeWarehouse, log_in, rows
from support.snapshots.captures import (
    Clone,
    Shot,
    Vault,
    capture_cluster,
    open_vault,
    planned_clone,
    restore_and_hang,
    restore_task,
    restored_cluster,
)
from support.snapshots.cuts import superuser, tell

pytestmark = pytest.mark.long

# What a source may have in postgresql.auto.conf and no clone may act upon.
HOMEWARD = {
    "archive_mode": "on",
    "archive_command": "cp %p {trap}/%f",
    "archive_cleanup_command": "touch {trap}/cleanup",
    "recovery_end_command": "touch {trap}/end",
    "primary_conninfo": "host=127.0.0.1 port=1",
    "primary_slot_name": "precious",
    "synchronous_standby_names": "nobody",
    "recovery_target_time": "2001-01-01 00:00:00+00",
    "listen_addresses": "127.0.0.1",
    "recovery_min_apply_delay": "1h",
    "recovery_target_action": "shutdown",
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    "external_pid_file": "{trap}/pid",
    "log_directory": "{trap}",
}
SHUT_OFF = {
    "listen_addresses": "",
    "hot_standby": "off",
    "archive_mode": "off",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "logging_collector": "off",
    "max_logical_replication_workers": "0",
    "max_worker_processes": "0",
    "autovacuum": "off",
    "event_triggers": "off",
    "recovery_min_apply_delay": "0",
    "hot_standby_feedback": "off",
}
STRENGTH = {"max_connections": "123", "max_prepared_transactions": "77", "max_locks_per_transaction": "99"}
# Recovery needs room only for prepared transactions, and for as many locks as the source may have held.
ENOUGH = {"max_connections": 100, "max_prepared_transactions": 77}
LOCKS = (123 + 8 + 10 + 77) * 99
TOTAL = "SELECT count(*), sum(balance) FROM accounts"


@dataclass(frozen=True)
class Source:
    """A warehouse whose settings all point home, and its snapshot. `trap` is a directory only it may write to."""

    cluster: Cluster
    vault: Vault
    shot: Shot
    trap: Path


@pytest.fixture(scope="module")
def source(site: Site, make_warehouse: MakeWarehouse, tmp_path_factory: pytest.TempPathFactory) -> Source:
    cluster, _ = make_warehouse(2)
    trap = site.data / "trap"
    trap.mkdir()
    trap.chmod(0o777)
    with log_in(cluster.coordinator) as user:
        user.execute(
            "SELECT stillhouse.create_distributed_table('public.accounts', 'id int, balance int', 'id')"
        )
        user.execute("INSERT INTO accounts SELECT i, 10 FROM generate_series(1, 1000) i")
    for node in (cluster.coordinator, cluster.data_nodes[0]):
        make_tablespace(site, node)
    for node in cluster.nodes:
        server.restart(site.binaries, node, STRENGTH)  # in no file that is captured
        with superuser(node) as connection:  # and never reloaded: the source itself is not to act upon them
            for name, value in HOMEWARD.items():
                tell(connection, f"ALTER SYSTEM SET {name} = '{value.format(trap=trap)}'")
    vault = open_vault(tmp_path_factory.mktemp("vault"), cluster)
    return Source(cluster, vault, capture_cluster(cluster, vault), trap)


def make_tablespace(site: Site, node: Node) -> None:
    place = Path(node.directory, "tablespaces", "home")
    place.mkdir()
    give(place, site.binaries.account)
    with superuser(node) as connection:
        tell(connection, f"CREATE TABLESPACE home LOCATION '{place}'")
        tell(connection, "CREATE TABLE public.housed TABLESPACE home AS SELECT generate_series(1, 1000) i")


@dataclass(frozen=True)
class Seen:
    """The clone, and what it was like in quarantine: settings by node, nodes that answered over TCP."""

    clone: Clone
    settings: dict[str, dict[str, str]]
    answered: list[str]


@pytest.fixture(scope="module")
def seen(site: Site, source: Source) -> Iterator[Seen]:
    settings: dict[str, dict[str, str]] = {}
    answered: list[str] = []

    def look(clone: Clone) -> None:
        for node in clone.cluster.nodes:
            settings[node.name] = dict(rows(node, "SELECT name, setting FROM pg_settings"))
            with socket.socket() as probe:
                if probe.connect_ex((node.host, node.port)) == 0:
                    answered.append(node.name)

    with restored_cluster(site, source.cluster, source.shot, source.vault, in_quarantine=look) as clone:
        yield Seen(clone, settings, answered)


@pytest.mark.parametrize("name", ["cn", "dn1", "dn2"])
def test_a_clone_is_shut_off_before_it_opens(seen: Seen, source: Source, name: str) -> None:
    settings = seen.settings[name]
    assert {key: settings[key] for key in SHUT_OFF} == SHUT_OFF
    assert {key: int(settings[key]) for key in ENOUGH} == ENOUGH
    assert sum(ENOUGH.values()) * int(settings["max_locks_per_transaction"]) >= LOCKS
    assert settings["external_pid_file"] != HOMEWARD["external_pid_file"].format(trap=source.trap)
    assert seen.answered == [] and [*source.trap.iterdir()] == []


@pytest.mark.parametrize("name", ["cn", "dn1", "dn2"])
def test_what_points_home_does_not_survive_the_release(seen: Seen, source: Source, name: str) -> None:
    node = next(node for node in seen.clone.cluster.nodes if node.name == name)
    settings = dict(rows(node, "SELECT name, setting FROM pg_settings"))
    inherited = {key: value.format(trap=source.trap) for key, value in HOMEWARD.items()}
    del inherited["hot_standby"]
    assert [key for key, value in inherited.items() if settings[key] == value] == []
    assert settings["listen_addresses"] == node.host
    assert "home" not in (Path(node.directory, "pgdata", "postgresql.auto.conf").read_text())
    assert [*source.trap.iterdir()] == []


def test_the_clone_holds_what_the_source_held(seen: Seen, source: Source) -> None:
    with log_in(seen.clone.cluster.coordinator) as user:
        assert user.execute(TOTAL.encode()).fetchall() == [(1000, 10000)]


def test_tablespaces_lie_below_the_new_node(seen: Seen, source: Source) -> None:
    place = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'home'"
    for old, node in zip(source.cluster.nodes[:2], seen.clone.cluster.nodes[:2], strict=True):
        ((location,),) = rows(node, place)
        assert location.startswith(node.directory) and not location.startswith(old.directory)
        assert rows(node, "SELECT count(*) FROM public.housed") == [(1000,)]


def test_data_nodes_have_new_passwords(seen: Seen, source: Source) -> None:
    old = inner_password(source.cluster.coordinator, "postgres")
    for node in seen.clone.cluster.data_nodes:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            log_in(node, password=old)
    log_in(seen.clone.cluster.coordinator, password=PASSWORD).close()


def test_a_clone_may_be_captured_and_restored_in_turn(site: Site, seen: Seen, tmp_path: Path) -> None:
    """On its second timeline, of which no history is at hand."""
    vault = open_vault(tmp_path, seen.clone.cluster)
    shot = capture_cluster(seen.clone.cluster, vault)
    assert {point.timeline for point in shot.cut.points} == {2}
    with (
        restored_cluster(site, seen.clone.cluster, shot, vault) as grandchild,
        log_in(grandchild.cluster.coordinator) as user,
    ):
        assert user.execute(TOTAL.encode()).fetchall() == [(1000, 10000)]


@pytest.mark.parametrize("offset", [-8, 8])
def test_recovery_to_another_place_than_the_cut_is_refused(site: Site, source: Source, offset: int) -> None:
    point = source.shot.cut.points[1]
    with planned_clone(site, source.cluster) as clone:
        node = clone.cluster.nodes[1]
        restored = build(site, source, node)
        with pytest.raises(RestoreFailed, match="recovered to"):
            quarantine.recover(
                site.binaries, node, replace(point, lsn=point.lsn + offset), restored.head["settings"]
            )
        assert not server.is_running(node)


def test_a_restore_point_that_is_not_in_the_wal_is_refused(site: Site, source: Source) -> None:
    point = source.shot.cut.points[1]
    with planned_clone(site, source.cluster) as clone:
        node = clone.cluster.nodes[1]
        restored = build(site, source, node)
        with pytest.raises(RestoreFailed, match="before configured recovery target was reached"):
            quarantine.recover(site.binaries, node, replace(point, name="never"), restored.head["settings"])
        assert not server.is_running(node)


def test_a_recovery_that_fails_late_is_told_and_not_waited_for(site: Site, source: Source) -> None:
    """pg_ctl is content as soon as replay begins."""
    with planned_clone(site, source.cluster) as clone:
        node = clone.cluster.nodes[1]
        restored = build(site, source, node)
        settings = {"recovery_end_command": "sleep 1; kill -KILL $$"}
        with pytest.raises(RestoreFailed, match=r"recovery_end_command.*terminated by signal"):
            quarantine.recover(
                site.binaries,
                node,
                source.shot.cut.points[1],
                restored.head["settings"],
                settings=settings,
            )


def build(site: Site, source: Source, node: Node) -> Restored:
    return restore(task(site, source, node), source.vault.store, source.vault.keys, lambda done: None)


def task(site: Site, source: Source, node: Node) -> RestoreTask:
    return restore_task(site, node, source.shot.captured[node.name])


def test_too_little_space_is_said_before_anything_is_written(site: Site, source: Source) -> None:
    with planned_clone(site, source.cluster) as clone:
        node = clone.cluster.nodes[1]
        greedy = replace(task(site, source, node), expected_bytes=1 << 60)
        with pytest.raises(RestoreFailed, match="bytes free"):
            restore(greedy, source.vault.store, source.vault.keys, lambda done: None)
        assert [*Path(node.directory).iterdir()] == []


def test_a_restore_that_was_killed_may_be_called_again(site: Site, source: Source) -> None:
    with planned_clone(site, source.cluster) as clone:
        node = clone.cluster.nodes[1]
        building = Path(node.directory, "pgdata.restoring")
        worker = multiprocessing.get_context("spawn").Process(
            target=restore_and_hang, args=(task(site, source, node), source.vault)
        )
        worker.start()
        try:
            until(lambda: (building / "hanging").exists(), 60)
        finally:
            worker.kill()
            worker.join()
        assert not Path(node.directory, "pgdata").exists()
        build(site, source, node)
        assert not building.exists() and not Path(node.directory, "pgdata", "hanging").exists()
        restored = build(site, source, node)  # as a step that is carried out anew after it was done
        told: list[tuple[int, int]] = []
        quarantine.recover(
            site.binaries,
            node,
            source.shot.cut.points[1],
            restored.head["settings"],
            lambda done, total: told.append((done, total)),
        )
        assert 0 < told[-1][0] == told[-1][1], "its log has said where replay began"
        assert rows(node, "SELECT count(*) FROM public.housed") == [(1000,)]
        with pytest.raises(RestoreFailed, match="a server runs"):
            build(site, source, node)
