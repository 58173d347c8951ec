"""Two services on one catalog: one leads, both answer, and the other takes its place."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkdws import v2 as dws

from stillhouse.repository.format.cipher_keys import load_or_create_kek
from support.networks.balancer import balancing
from support.processes.replica_pair import LEADS, OTHER, Pair, follows, replica_pair, taken_once, told
from support.processes.service import COMMAND, PROJECT, Service
from support.servers.warehouses import servers_below

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("replicas"), pytest.mark.timeout(900)]

ROWS = 20_000


@pytest.fixture(scope="module")
def pair(data_root: Path) -> Iterator[Pair]:
    with replica_pair(data_root / "replicas", STILLHOUSE_TIMER_SECONDS="0.5") as made:
        yield made


@pytest.fixture(scope="module")
def cluster(pair: Pair) -> str:
    """Made by the one that leads first, asked for at the other."""
    cluster_id = pair.two.create_cluster("sales", 1)
    # The servers of the other host are somebody else's to ask.
    with pair.two.log_in(cluster_id) as connection:
        connection.execute(
            "CREATE TABLE accounts AS SELECT g AS id, repeat(md5(g::text), 3) AS pad"
            f" FROM generate_series(1, {ROWS}) g"
        )
    return cluster_id


def test_everything_is_asked_of_the_replica_that_follows(pair: Pair, cluster: str) -> None:
    asked = pair.two
    assert follows(asked) and not follows(pair.one)
    snapshot = asked.request_snapshot(cluster, "first")
    taken_once(asked, snapshot)
    listed = asked.call("GET", "/v1.0/{p}/snapshots").json["snapshots"]
    assert [one["id"] for one in listed] == [snapshot]
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/progress"
    assert asked.call("GET", path).json["percent"] == 100
    clone = asked.restore(snapshot, "copy")
    assert asked.settled(clone)["status"] == "AVAILABLE"
    with asked.log_in(clone) as connection:
        assert connection.execute("SELECT count(*) FROM accounts").fetchone() == (ROWS,)
    asked.delete_cluster(clone)
    assert asked.call("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot}").status == 202
    assert not told(asked, "Traceback")


def test_a_cancellation_at_the_follower_ends_the_snapshot_at_once(pair: Pair, cluster: str) -> None:
    with pair.two.log_in(cluster) as writer:
        writer.execute("BEGIN")
        writer.execute("CREATE TABLE not_yet (id int)")
        snapshot = pair.two.request_snapshot(cluster, "cancelled")
        pair.two.until("node work", lambda: pair.one.is_copied(snapshot))
        path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/cancel"
        assert pair.two.call("POST", path).status == 202
        assert pair.two.ended(snapshot) == "UNAVAILABLE"
        writer.execute("ROLLBACK")


def test_servers_of_another_host_are_told_as_the_leader_saw_them_and_not_asked(
    pair: Pair, cluster: str
) -> None:
    refused = pair.two.call("GET", f"/v2/{{p}}/clusters/{cluster}/databases/gaussdb/schemas")
    assert refused.status == 503 and "on another host" in refused.raw.decode()
    assert pair.one.call("GET", f"/v2/{{p}}/clusters/{cluster}/databases/gaussdb/schemas").status == 200
    for each in (pair.one, pair.two):
        shown = each.call("GET", f"/stillhouse/v1/{{p}}/clusters/{cluster}").json["cluster"]
        assert shown["state"] == "AVAILABLE", shown
    quotas = [each.call("GET", "/v1.0/{p}/quotas").status for each in (pair.one, pair.two)]
    assert quotas == [200, 200]


def test_a_lock_out_holds_at_both(pair: Pair) -> None:
    good = pair.one.client(OTHER)
    path = "/v1.0/{p}/clusters"

    def at(service: Service, key: Any) -> Any:
        return replace(key, endpoint=service.url).request("GET", path)

    bad = replace(good, secret_key="x" * 40)
    for _ in range(3):
        assert at(pair.one, bad).status == at(pair.two, bad).status == 401
    for service in (pair.one, pair.two):
        assert "failed to reach the limit" in at(service, good).raw.decode()
    # Others are not concerned.
    assert pair.two.call("GET", path).status == 200


def test_a_key_that_is_disabled_is_refused_by_both(pair: Pair) -> None:
    environment = pair.one.environment()
    made = subprocess.run(
        [*COMMAND, "key", "create", "--data", str(pair.one.data), "--project", PROJECT, "--json"],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    key = json.loads(made.stdout)
    client = replace(pair.one.client(), access_key=key["access_key"], secret_key=key["secret_key"])

    def answers() -> list[int]:
        return [
            replace(client, endpoint=each.url).request("GET", "/v1.0/{p}/clusters").status
            for each in (pair.one, pair.two)
        ]

    assert answers() == [200, 200]
    subprocess.run(
        [*COMMAND, "key", "disable", key["access_key"], "--data", str(pair.two.data), "--project", PROJECT],
        check=True,
        capture_output=True,
        env=environment,
    )
    pair.one.until("both to refuse", lambda: answers() == [401, 401])


def test_nobody_notices_the_end_of_the_follower(pair: Pair, cluster: str) -> None:
    snapshot = pair.one.request_snapshot(cluster, "alone")
    pair.two.kill()
    taken_once(pair.one, snapshot)
    pair.two.start()
    assert follows(pair.two) and pair.two.call("GET", "/v1.0/{p}/clusters").status == 200


def test_a_restart_of_the_catalog_s_server_costs_no_snapshot(pair: Pair, cluster: str) -> None:
    snapshot = pair.two.request_snapshot(cluster, "outage")
    pair.one.until("node work", lambda: pair.one.attempts(snapshot))
    pair.server.restart()
    pair.one.until("the hold to be back", lambda: told(pair.one, "is back, and no other"))
    pair.two.until("an answer", lambda: pair.two.call("GET", "/v1.0/{p}/clusters").status == 200)
    taken_once(pair.two, snapshot)
    assert pair.one.is_alive and pair.two.is_alive and follows(pair.two)


def test_an_older_or_a_foreign_replica_is_refused_by_name(pair: Pair, data_root: Path) -> None:
    foreign = Service(data_root / "replicas" / "foreign")
    foreign.data.mkdir(mode=0o755)
    load_or_create_kek(foreign.data / "kek")
    for catalog, reason in (
        (pair.one.catalog, "the catalog's secrets are sealed under"),
        ("", "--replica is for a catalog on PostgreSQL"),
    ):
        done = subprocess.run(
            [*COMMAND, "serve", "--data", str(foreign.data), "--listen", "127.0.0.1:0"],
            env=pair.one.environment() | {"STILLHOUSE_CATALOG": catalog},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr
    shutil.rmtree(foreign.data)


def test_the_follower_leads_after_kill_9_and_carries_on_what_was_under_way(pair: Pair, cluster: str) -> None:
    killed, heir = pair.one, pair.two
    seen: list[int] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            seen.append(heir.call("GET", "/v1.0/{p}/clusters").status)

    with heir.log_in(cluster) as writer:
        # An open write keeps the cut away, so the snapshot is under way when the leader is killed.
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-9, 'not yet')")
        under_way = heir.request_snapshot(cluster, "under-way")
        heir.until("node work", lambda: killed.is_copied(under_way))
        asking = threading.Thread(target=ask)
        asking.start()
        due = datetime.now(UTC) + timedelta(seconds=2)
        once = {
            "policy_name": "at-the-change",
            "backup_strategy": f"{due:%Y-%m-%dT%H:%M:%S}",
            "backup_type": "full",
        }
        path = f"/v2/{{p}}/clusters/{cluster}/snapshot-policies"
        assert heir.call("PUT", path, {"keep_day": 3, "backup_strategies": [once]}).status == 200
        killed.kill()
        accepted = heir.request_snapshot(cluster, "while-nobody-leads")
        heir.until("another leader", lambda: told(heir, LEADS))
        heir.until("the lead", lambda: not follows(heir))
        writer.execute("ROLLBACK")
    taken_once(heir, under_way)
    taken_once(heir, accepted)
    automated = "SELECT snapshot_id FROM sh_policy_runs WHERE policy_name = 'at-the-change'"
    heir.until("the run that fell due", lambda: [one for (one,) in heir.rows(automated) if one])
    assert len(heir.rows(automated)) == 1
    taken_once(heir, heir.rows(automated)[0][0])
    is_over.set()
    asking.join()
    assert set(seen) == {200}
    names = "SELECT name, count(*) FROM sh_snapshots WHERE deleted IS NULL GROUP BY name HAVING count(*) > 1"
    assert heir.rows(names) == []
    killed.start()
    assert follows(killed) and not follows(heir)


def test_a_cluster_that_is_deleted_while_its_host_is_away_goes_when_the_host_is_back(pair: Pair) -> None:
    home, other = pair.leader, pair.follower
    cluster = other.create_cluster("left-behind", 1)
    home.kill()
    other.until("the lead", lambda: not follows(other))
    other.delete_cluster(cluster)
    left = home.data / "clusters" / cluster
    assert left.exists() and servers_below(left)
    home.start()
    assert follows(home)
    home.until("its removal", lambda: not left.exists() and not servers_below(left))


def test_the_sdk_works_through_a_balancer_while_one_replica_after_the_other_ends(
    pair: Pair, cluster: str
) -> None:
    key = pair.one.client()
    with balancing(pair.one.port, pair.two.port) as balancer:
        credentials = BasicCredentials(key.access_key, key.secret_key, key.project)

        def client() -> Any:
            made = dws.DwsClient.new_builder().with_credentials(credentials)
            return made.with_endpoint(f"http://127.0.0.1:{balancer.port}").build()

        def listed() -> set[str]:
            return {one.id for one in client().list_snapshots(dws.ListSnapshotsRequest()).snapshots}

        before = listed()
        assert before == listed() and all(balancer.served.values())
        for ended in (pair.follower, pair.leader):
            ended.stop()
            assert listed() == before
            wanted = dws.Snapshot(name=f"without-{ended.port}", cluster_id=cluster)
            body = dws.CreateSnapshotRequestBody(snapshot=wanted)
            made = client().create_snapshot(dws.CreateSnapshotRequest(body=body)).snapshot.id
            taken_once(next(one for one in (pair.one, pair.two) if one.is_alive), made)
            before.add(made)
            ended.start()
        assert listed() == before
