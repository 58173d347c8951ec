"""An installation of an earlier version comes up under this one, with all work that was in flight.

That version's own program makes it: see tests/predecessor/README.md.
"""

import json
import os
import pwd
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stillhouse.domain.cluster import Node
from stillhouse.postgres.host import server
from stillhouse.postgres.sessions.session import READER, SUPERUSER
from stillhouse.repository.format.cipher_keys import open_keys, read_kek
from stillhouse.repository.objects import roots
from stillhouse.storage.open import open_store
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.upgrade import hand_over
from support.processes.predecessor import (
    ARCHIVES,
    BEFORE_ACCOUNTS,
    ROWS,
    Installation,
    contents,
    install,
    refusal,
    restore_alone,
    unpack,
)
from support.processes.reader import destroy_clusters
from support.processes.service import PASSWORD, Service, postmaster, serving
from support.servers.warehouses import rows, servers_below

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("predecessor")]

IS_ROOT = os.geteuid() == 0
DATABASES = ("postgres", "gaussdb")
OPEN_TO_PUBLIC = """
    SELECT p.oid::regprocedure::text
      FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_proc'::regclass
       AND e.extname IN ('dblink', 'postgres_fdw') AND has_function_privilege('public', p.oid, 'EXECUTE')
"""
VERIFIERS = (
    f"SELECT rolname, rolpassword FROM pg_authid WHERE rolname IN ('{SUPERUSER}', '{READER}') ORDER BY 1"
)


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda archive: archive.name.split(".")[0])
def archive(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def hands_over(archive: Path) -> bool:
    """Whether this version gives that one's clusters accounts and passwords."""
    return archive.name == BEFORE_ACCOUNTS


@pytest.fixture(scope="module")
def service(data_root: Path, archive: Path) -> Iterator[Service]:
    """It is the earlier version, until `installation` has been made."""
    place = data_root / archive.name.split(".")[0]
    with pytest.MonkeyPatch.context() as patch:
        # On a busy machine ten seconds are too few for all fingerprints, and a proof that lacks some is FAILED.
        patch.setenv("STILLHOUSE_FINGERPRINT_SECONDS", "120")
        with serving(place, unpack(archive, place.with_suffix(".sources"))) as running:
            yield running


@pytest.fixture(scope="module")
def installation(service: Service, hands_over: bool) -> Iterator[Installation]:
    """The installation, brought up by this version, which was killed at many places on the way."""
    made = install(service)
    service.sources = None
    if hands_over:
        _kill_while_it_hands_over(service, made.sales)
    service.start()
    service.ended(made.waiting)
    for cluster in (made.sales, made.clone, made.begun):
        service.settled(cluster)
    yield made
    destroy_clusters(made.alone)


def _kill_while_it_hands_over(service: Service, cluster: str) -> None:
    for moment in MOMENTS:
        service.launch()
        service.until(moment, partial(_has_come, moment, service, cluster))
        service.kill()
        assert _is_under_way(service, cluster), f"{moment}: it was over before it was killed"
    _hand_over_untold(service, cluster)
    assert _is_under_way(service, cluster)


def _plan(service: Service, cluster: str) -> Any:
    return json.loads((service.data / "clusters" / cluster / "nodes.json").read_text())


def _is_under_way(service: Service, cluster: str) -> bool:
    plan = _plan(service, cluster)
    return isinstance(plan, dict) and plan["moved_from"] is not None


def _is_given(service: Service, cluster: str) -> bool:
    if not _is_under_way(service, cluster):
        return False
    owner = Path(_plan(service, cluster)["nodes"][0]["directory"]).stat().st_uid
    return not IS_ROOT or owner not in (0, _plan(service, cluster)["moved_from"])


def _is_started_alone(service: Service, cluster: str) -> bool:
    if not _is_under_way(service, cluster):
        return False
    process = server.process_id(service.nodes(cluster)[1])
    return process is not None and b"\0listen_addresses=\0" in Path(f"/proc/{process}/cmdline").read_bytes()


MOMENTS: dict[str, Callable[[Service, str], bool]] = {
    "planned": _is_under_way,
    "files given": _is_given,
    "a data node started alone": _is_started_alone,
}


def _has_come(moment: str, service: Service, cluster: str) -> bool:
    assert service.is_alive, service.log.read_text()[-3000:]
    return MOMENTS[moment](service, cluster)


def _hand_over_untold(service: Service, cluster: str) -> None:
    """Leave it as a service does that is killed after the last server was put right and before the catalog knows."""
    hand_over(embedded.open_site(service.data), cluster, "dbadmin", is_whole=True)


def _account(node: Node) -> int:
    return Path("/proc", str(postmaster(node))).stat().st_uid


def test_what_was_in_flight_ends_well(service: Service, installation: Installation) -> None:
    assert service.ended(installation.waiting) == "AVAILABLE"
    for cluster in (installation.clone, installation.begun):
        assert service.settled(cluster)["status"] == "AVAILABLE"
    with service.log_in(installation.begun) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert contents(service, installation.clone)[0] == ROWS


def test_the_rows_are_what_they_were(service: Service, installation: Installation) -> None:
    assert service.settled(installation.sales)["status"] == "AVAILABLE"
    assert contents(service, installation.sales) == installation.contents


def test_a_stopped_cluster_stays_so_until_it_is_started(service: Service, installation: Installation) -> None:
    (node,) = service.nodes(installation.asleep)
    assert not server.process_id(node)
    assert service.call("POST", f"/v1/{{p}}/clusters/{installation.asleep}/start").status in (200, 202)
    service.until("its server", lambda: server.is_running(node))


@pytest.mark.skipif(not IS_ROOT, reason="without root all clusters share the service's account")
def test_each_cluster_runs_as_an_account_of_its_own(service: Service, installation: Installation) -> None:
    clusters = [installation.sales, installation.clone, installation.begun]
    accounts = [{_account(node) for node in service.nodes(cluster)} for cluster in clusters]
    assert [len(of_cluster) for of_cluster in accounts] == [1, 1, 1]
    assert len(set.union(*accounts)) == 3
    for cluster, (account,) in zip(clusters, accounts, strict=True):
        for node in service.nodes(cluster):
            below = [Path(node.directory), *Path(node.directory).rglob("*"), Path(node.socket)]
            # A write that was killed may have left its file, root's or the earlier account's.
            found = [path for path in below if path.suffix != ".new" and path.lstat().st_uid != account]
            assert found == []


def test_the_superusers_sockets_ask_for_a_password(
    service: Service, installation: Installation, hands_over: bool
) -> None:
    assert installation.let_in_without_password == hands_over
    for cluster in (installation.sales, installation.clone, installation.begun):
        for node in service.nodes(cluster):
            assert "no password supplied" in refusal(service, node, by=node)
            methods = rows(node, "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
            assert sorted(methods) == [("reject",), ("scram-sha-256",)]


@pytest.mark.skipif(not IS_ROOT, reason="without root all clusters share the service's account")
def test_no_cluster_reaches_the_sockets_of_another(service: Service, installation: Installation) -> None:
    (own, *_), (others, *_) = service.nodes(installation.sales), service.nodes(installation.clone)
    assert "Permission denied" in refusal(service, own, by=others)


def test_functions_that_connect_anywhere_are_no_longer_everyones(
    service: Service, installation: Installation
) -> None:
    for cluster in (installation.sales, installation.clone):
        for node in service.nodes(cluster):
            for database in DATABASES:
                assert rows(node, OPEN_TO_PUBLIC, database) == []


def test_tables_are_distributed_as_before(service: Service, installation: Installation) -> None:
    with service.log_in(installation.sales) as connection:
        connection.execute(
            "SELECT stillhouse.create_distributed_table('public.later', 'id bigint NOT NULL', 'id')"
        )
        connection.execute("INSERT INTO later SELECT generate_series(1, 100)")
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (100,)
        connection.execute("SELECT stillhouse.drop_distributed_table('public.later')")


def test_it_was_told_once(service: Service, installation: Installation, hands_over: bool) -> None:
    told = service.rows("SELECT resource, outcome FROM sh_audit WHERE action = 'HandOverCluster'")
    every = (
        [installation.sales, installation.asleep, installation.clone, installation.begun]
        if hands_over
        else []
    )
    assert sorted(told) == sorted((f"cluster/{cluster}", "accepted") for cluster in every)
    events = service.call("GET", "/v2/{p}/events").json["events"]
    assert len([event for event in events if "HandOverCluster" in json.dumps(event)]) == len(every)
    assert service.log.read_text().count("an account and passwords of its own") == len(every)


def _base_of(service: Service, cluster: str, snapshot: str) -> list[str | None]:
    store = open_store(str(service.data / "repository"))
    root = roots.read(store, open_keys(store, read_kek(service.data / "kek"), cluster), snapshot)
    assert root is not None
    return [node.base for node in root.nodes]


def _proved(service: Service, snapshot: str) -> Any:
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}"
    assert service.call("POST", f"{path}/prove").status == 202

    def look() -> Any:
        proof = service.call("GET", f"{path}/proof").json["proof"]
        return proof if proof["state"] != "RUNNING" else None

    return service.until("the proof to end", look)


def test_an_earlier_snapshot_is_proved(service: Service, installation: Installation) -> None:
    """The cluster `clone`, in flight then, is its restore; see the tests of that."""
    assert (found := _proved(service, installation.usable))["state"] == "PROVED", found


def test_a_new_snapshot_is_built_on_the_earlier_one_and_proved_and_restored(
    service: Service, installation: Installation
) -> None:
    snapshot = service.request_snapshot(installation.sales, "anew")
    assert service.ended(snapshot) == "AVAILABLE"
    for taken in (installation.waiting, snapshot):
        assert all(_base_of(service, installation.sales, taken))
    assert (found := _proved(service, snapshot))["state"] == "PROVED", found
    restored = service.restore(snapshot, "anew")
    assert service.settled(restored)["status"] == "AVAILABLE"
    assert contents(service, restored) == installation.contents
    service.delete_cluster(restored)


def test_a_directory_that_it_restored_alone_is_handed_over_once(
    service: Service, installation: Installation
) -> None:
    (plan,) = installation.alone.glob("clusters/*/nodes.json")
    seen = []
    for _ in ("handed over", "as it is"):
        restore_alone(service, installation.alone, "--start")
        ours = json.loads(plan.read_text())
        assert ours["moved_from"] is None
        coordinator = ours["nodes"][0]
        address = {"host": coordinator["host"], "port": coordinator["port"], "dbname": "gaussdb"}
        with psycopg.connect(**address, user="dbadmin", password=PASSWORD) as connection:
            assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (ROWS,)
        owners = {Path(node["directory"]).stat().st_uid for node in ours["nodes"]}
        assert len(owners) == 1
        seen.append((owners, ours))
    assert seen[0] == seen[1]
    if IS_ROOT:
        assert seen[0][0] != {pwd.getpwnam("stillhouse").pw_uid}, "the account that all clusters shared"
    restore_alone(service, installation.alone)
    assert servers_below(installation.alone) == []


def _state(service: Service, installation: Installation) -> Any:
    nodes = service.nodes(installation.sales)
    return (
        _plan(service, installation.sales),
        [postmaster(node) for node in nodes],
        [rows(node, VERIFIERS) for node in nodes],
        service.rows("SELECT count(*) FROM sh_audit WHERE action = 'HandOverCluster'"),
        service.rows("SELECT * FROM sh_os_accounts"),
    )


def test_a_second_start_changes_nothing(service: Service, installation: Installation) -> None:
    before = _state(service, installation)
    service.kill()
    service.start()
    assert _state(service, installation) == before
