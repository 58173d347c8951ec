"""The running service through the official SDK and signed requests: real clusters, snapshots, restores."""

import json
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkdws.v2 import (
    CreateClusterInfo,
    CreateClusterRequest,
    CreateClusterRequestBody,
    CreateSnapshotRequest,
    CreateSnapshotRequestBody,
    DeleteClusterRequest,
    DeleteClusterRequestBody,
    DeleteSnapshotRequest,
    DwsClient,
    ListClusterDetailsRequest,
    ListClusterSnapshotsRequest,
    ListClustersRequest,
    ListSnapshotDetailsRequest,
    ListSnapshotsRequest,
    Restore,
    RestoreClusterRequest,
    RestoreClusterRequestBody,
    Snapshot,
)
from huaweicloudsdkdws.v2.region.dws_region import DwsRegion

from stillhouse.postgres.host import server
from support.processes.service import COMMAND, PASSWORD, PROJECT, Service, fill, serving
from support.servers.warehouses import rows

pytestmark = pytest.mark.xdist_group("service snapshots")

ROWS = 60_000
OTHER_PROJECT = "f" * 32
CONTENTS = "SELECT count(*), sum(balance), md5(string_agg(id || pad, ',' ORDER BY id)) FROM accounts"


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "snapshots") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    cluster_id = service.create_cluster("sales", 2)
    fill(service, cluster_id, ROWS)
    return cluster_id


@pytest.fixture
def sdk(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Pointed at the service the way users do it: by the region's environment variable."""
    monkeypatch.setenv("HOME", str(tmp_path))  # the SDK keeps an application id there
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1", service.url)
    key = service.client()
    return (
        DwsClient.new_builder()
        .with_credentials(BasicCredentials(key.access_key, key.secret_key, key.project))
        .with_region(DwsRegion.value_of("local-1"))
        .build()
    )


def contents(service: Service, cluster_id: str) -> Any:
    with service.log_in(cluster_id) as connection:
        return connection.execute(CONTENTS).fetchone()


def refused(call: Any, request: Any) -> tuple[int, str]:
    with pytest.raises(ServiceResponseException) as raised:
        call(request)
    assert len(raised.value.request_id) == 32
    return raised.value.status_code, raised.value.error_code


def test_a_snapshots_whole_life_through_the_official_sdk(service: Service, sdk: Any) -> None:
    wanted = CreateClusterInfo(
        name="by-the-sdk",
        node_type="dws2.km1.xlarge",
        number_of_node=2,
        vpc_id="v",
        subnet_id="s",
        security_group_id="g",
        user_name="dbadmin",
        user_pwd=PASSWORD,
    )
    body = CreateClusterRequestBody(cluster=wanted)
    cluster_id = sdk.create_cluster(CreateClusterRequest(body=body)).cluster.id
    created = service.settled(cluster_id)
    assert (created["status"], len(created["nodes"])) == ("AVAILABLE", 2)
    fill(service, cluster_id, ROWS)
    before = contents(service, cluster_id)

    snapshot = Snapshot(name="by-the-sdk", cluster_id=cluster_id, description="the first")
    answer = sdk.create_snapshot(CreateSnapshotRequest(body=CreateSnapshotRequestBody(snapshot=snapshot)))
    assert answer.status_code == 200
    snapshot_id = answer.snapshot.id
    assert snapshot_id in [one.id for one in sdk.list_snapshots(ListSnapshotsRequest()).snapshots]
    _watch_until_available(service, sdk, cluster_id, snapshot_id)

    shown = sdk.list_snapshot_details(ListSnapshotDetailsRequest(snapshot_id=snapshot_id)).snapshot
    assert (shown.name, shown.type, shown.cluster_id, shown.description) == (
        "by-the-sdk",
        "MANUAL",
        cluster_id,
        "the first",
    )
    assert shown.started <= shown.finished
    assert shown.size > 0
    of_cluster = sdk.list_cluster_snapshots(ListClusterSnapshotsRequest(cluster_id=cluster_id))
    assert [(one.id, one.status) for one in of_cluster.snapshots] == [(snapshot_id, "AVAILABLE")]

    with service.log_in(cluster_id) as connection:
        connection.execute("DELETE FROM accounts WHERE id % 7 = 0")
        connection.execute("UPDATE accounts SET balance = 0 WHERE id % 5 = 0")
    request = RestoreClusterRequestBody(restore=Restore(name="by-the-sdk-copy"))
    restored = sdk.restore_cluster(RestoreClusterRequest(snapshot_id=snapshot_id, body=request)).cluster.id
    assert {one.id for one in sdk.list_clusters(ListClustersRequest()).clusters} >= {cluster_id, restored}
    assert service.settled(restored)["status"] == "AVAILABLE"
    assert contents(service, restored) == before
    assert contents(service, cluster_id) != before

    by_id = DeleteSnapshotRequest(snapshot_id=snapshot_id)
    assert sdk.delete_snapshot(by_id).status_code == 202
    detail = ListSnapshotDetailsRequest(snapshot_id=snapshot_id)
    assert refused(sdk.list_snapshot_details, detail) == (400, "DWS.5149")
    assert refused(sdk.delete_snapshot, by_id) == (400, "DWS.0001")

    nodes = [*service.nodes(cluster_id), *service.nodes(restored)]
    for one in (cluster_id, restored):
        nothing_kept = DeleteClusterRequestBody(keep_last_manual_snapshot=0)
        sdk.delete_cluster(DeleteClusterRequest(cluster_id=one, body=nothing_kept))
        service.until("the cluster to be gone", partial(service.is_gone, one))
        gone = ListClusterDetailsRequest(cluster_id=one)
        assert refused(sdk.list_cluster_details, gone) == (404, "DWS.0047")
    assert not any(server.process_id(node) or Path(node.directory).exists() for node in nodes)


def _watch_until_available(service: Service, sdk: Any, cluster_id: str, snapshot_id: str) -> None:
    """The cluster shows the task for as long as the snapshot is CREATING, and not a moment longer."""
    shown: set[str] = set()

    def look() -> bool:
        before = sdk.list_snapshot_details(ListSnapshotDetailsRequest(snapshot_id=snapshot_id)).snapshot
        cluster = sdk.list_cluster_details(ListClusterDetailsRequest(cluster_id=cluster_id)).cluster
        after = sdk.list_snapshot_details(ListSnapshotDetailsRequest(snapshot_id=snapshot_id)).snapshot
        if before.status == "AVAILABLE":
            assert (cluster.task_status, cluster.action_progress) == (None, {})
        elif after.status == "CREATING":
            assert cluster.task_status == "SNAPSHOTTING"
            assert list(cluster.action_progress) == ["SNAPSHOTTING"]
            shown.add(cluster.action_progress["SNAPSHOTTING"])
        assert cluster.status == "AVAILABLE"
        assert before.status in ("CREATING", "AVAILABLE")
        return bool(before.status == "AVAILABLE")

    service.until("the snapshot to be available", look)
    assert shown
    assert all(progress.endswith("%") and 0 <= int(progress[:-1]) <= 100 for progress in shown)


@pytest.mark.long
def test_a_single_server_is_snapshot_and_restored_alike(service: Service) -> None:
    cluster_id = service.create_cluster("single", 1)
    with service.log_in(cluster_id) as connection:
        connection.execute("CREATE TABLE notes AS SELECT g AS id FROM generate_series(1, 1000) g")
    snapshot = service.request_snapshot(cluster_id, "of-one-server")
    assert service.ended(snapshot) == "AVAILABLE"
    with service.log_in(cluster_id) as connection:
        connection.execute("DROP TABLE notes")
    restored = service.restore(snapshot, "single-copy")
    assert service.settled(restored)["status"] == "AVAILABLE"
    assert len(service.cluster(restored)["nodes"]) == 1
    with service.log_in(restored) as connection:
        assert connection.execute("SELECT count(*), sum(id) FROM notes").fetchone() == (1000, 500500)
    for one in (cluster_id, restored):
        service.delete_cluster(one)


@pytest.mark.long
def test_six_requests_at_once_are_all_taken_one_after_the_other(service: Service, cluster: str) -> None:
    client = service.client()

    def ask(number: int) -> tuple[int, str]:
        body = {"snapshot": {"name": f"at-once-{number}", "cluster_id": cluster}}
        answer = client.request("POST", "/v1.0/{p}/snapshots", body)
        return answer.status, answer.json["snapshot"]["id"] if answer.status == 200 else answer.error_code

    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(ask, range(6)))
    assert [status for status, _ in answers] == [200] * 6, answers
    taken = [told for _, told in answers]
    while_busy = service.call("POST", f"/v1.0/{{p}}/clusters/{cluster}/restart")
    assert (while_busy.status, while_busy.error_code) == (409, "DWS.0011")
    assert {service.ended(snapshot) for snapshot in taken} == {"AVAILABLE"}
    held = service.rows(
        "SELECT o.started, o.ended FROM sh_operations o JOIN sh_snapshots s ON s.id = o.subject_id"
        " WHERE o.kind = 'SNAPSHOTTING' AND s.name LIKE 'at-once-%' ORDER BY o.started"
    )
    assert len(held) == 6
    assert all(before[1] <= after[0] for before, after in pairwise(held)), "never two at a time"
    assert service.rows("SELECT * FROM sh_snapshot_queue") == []


def test_another_projects_cluster_is_as_unknown(service: Service, cluster: str) -> None:
    unknown = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"
    mine = service.request_snapshot(cluster, "not-theirs")
    assert service.ended(mine) == "AVAILABLE"

    def answers(cluster_id: str, snapshot_id: str) -> list[tuple[int, str]]:
        asked: list[tuple[str, str, Any]] = [
            ("GET", f"/v1.0/{{p}}/clusters/{cluster_id}", None),
            ("DELETE", f"/v1.0/{{p}}/clusters/{cluster_id}", {"keep_last_manual_snapshot": 0}),
            ("POST", "/v1.0/{p}/snapshots", {"snapshot": {"name": "theirs", "cluster_id": cluster_id}}),
            ("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}", None),
            ("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot_id}", None),
            ("POST", f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions", {"restore": {"name": "theirs"}}),
            ("POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot_id}/cancel", None),
        ]
        told = [service.call(*each, project=OTHER_PROJECT) for each in asked]
        return [(answer.status, answer.error_code) for answer in told]

    theirs = answers(cluster, mine)
    assert theirs == answers(unknown, unknown)
    assert all(400 <= status < 500 for status, _ in theirs)
    assert service.call("GET", "/v1.0/{p}/snapshots", project=OTHER_PROJECT).json["count"] == 0
    assert service.snapshot(mine)["status"] == "AVAILABLE"


@pytest.mark.long
def test_a_clone_is_a_cluster_like_any_other(service: Service, cluster: str) -> None:
    """It outlives the service, is snapshot in its turn, and its snapshot restores."""
    before = contents(service, cluster)
    snapshot = service.request_snapshot(cluster, "first-generation")
    assert service.ended(snapshot) == "AVAILABLE"
    clone = service.restore(snapshot, "first-clone")
    assert service.settled(clone)["status"] == "AVAILABLE"
    assert service.stop() == 0
    assert not any(server.is_running(node) for node in service.nodes(clone))
    service.start()
    assert contents(service, clone) == before
    with service.log_in(clone) as connection:
        connection.execute("UPDATE accounts SET balance = balance + 1")
    changed = contents(service, clone)
    again = service.request_snapshot(clone, "second-generation")
    assert service.ended(again) == "AVAILABLE"
    grandchild = service.restore(again, "second-clone")
    assert service.settled(grandchild)["status"] == "AVAILABLE"
    assert contents(service, grandchild) == changed
    assert contents(service, cluster) == before
    for one in (clone, grandchild):
        service.delete_cluster(one)


@pytest.mark.long
def test_what_a_snapshot_skipped_is_an_event_and_stands_in_the_audit(service: Service, cluster: str) -> None:
    planted = Path(service.nodes(cluster)[1].directory, "pgdata", "base", "planted")
    planted.symlink_to("/etc/shadow")
    try:
        snapshot_id = service.request_snapshot(cluster, "with-a-link")
        assert service.ended(snapshot_id) == "AVAILABLE"
    finally:
        planted.unlink()
    event = service.call("GET", "/v2/{p}/events").json["events"][0]
    assert (event["source_id"], event["severity"], event["status"]) == (snapshot_id, "warning", 0)
    assert event["subject"] == "CreateSnapshot skipped files"
    assert event["context"] == "node dn1: 1 not the account's own, as base/planted: a symbolic link"
    audited = "SELECT outcome, detail FROM sh_audit WHERE resource = ? ORDER BY id DESC LIMIT 1"
    assert service.rows(audited, f"cluster/{cluster}/snapshot/{snapshot_id}") == [
        ("skipped", event["context"])
    ]


@pytest.mark.long
def test_1_a_table_that_was_replaced_is_an_event_and_stands_in_the_audit(
    service: Service, cluster: str
) -> None:
    """He has swapped it before the cut, and commits when the reader waits for the lock on what he meant to read."""
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock' AND relation = %s"
    with service.log_in(cluster) as tenant, service.log_in(cluster) as looking:
        tenant.execute("CREATE TABLE public.kept (v int)")
        ((kept,),) = tenant.execute("SELECT 'public.kept'::regclass::oid").fetchall()
        tenant.execute(
            "BEGIN; ALTER TABLE public.kept RENAME TO hidden; CREATE VIEW public.kept AS SELECT 1 AS v"
        )
        snapshot_id = service.request_snapshot(cluster, "with-a-swap")
        service.until("the reader waits", lambda: looking.execute(waits, [kept]).fetchone() == (1,))
        tenant.execute("COMMIT")
        assert service.ended(snapshot_id) == "AVAILABLE"
        tenant.execute("DROP VIEW public.kept; DROP TABLE public.hidden")
    event = service.call("GET", "/v2/{p}/events").json["events"][0]
    assert (event["source_id"], event["severity"], event["status"]) == (snapshot_id, "warning", 0)
    assert event["subject"] == "CreateSnapshot met replaced tables"
    told = "node cn: 1 without a fingerprint, as gaussdb: public.kept was replaced while it was read"
    assert event["context"].startswith(told)
    audited = "SELECT outcome, detail FROM sh_audit WHERE resource = ? ORDER BY id DESC LIMIT 1"
    assert service.rows(audited, f"cluster/{cluster}/snapshot/{snapshot_id}") == [
        ("replaced", event["context"])
    ]


def test_a_key_made_beside_the_running_service_works_at_once(service: Service) -> None:
    project = "e" * 32
    assert service.call("GET", "/v1.0/{p}/snapshots", project=project).json == {"snapshots": [], "count": 0}
    bad = _run("key", "create", "--data", str(service.data), "--project", "not-hex")
    assert bad.returncode == 1
    assert bad.stderr == "stillhouse: a project id is 32 lower-case hexadecimal digits\n"


def test_a_second_service_on_the_same_data_is_refused(service: Service) -> None:
    refused = _run("serve", "--data", str(service.data), "--listen", f"127.0.0.1:{_free_port()}")
    assert refused.returncode == 1
    expected = f"stillhouse: process {service.pid} already serves {service.data}\nhint: stop it first\n"
    assert refused.stderr == expected
    assert service.call("GET", "/v1.0/{p}/snapshots").status == 200


@pytest.mark.parametrize(
    "listen",
    [
        "nonsense",
        *(
            pytest.param(one, marks=pytest.mark.long)
            for one in ("127.0.0.1", ":8080", "127.0.0.1:99999", "127.0.0.1:²")
        ),
    ],
)
def test_an_address_that_is_none_is_refused(tmp_path: Path, listen: str) -> None:
    refused = _run("serve", "--data", str(tmp_path / "data"), "--listen", listen)
    assert (refused.returncode, refused.stderr) == (1, f"stillhouse: {listen!r} is not HOST:PORT\n")
    assert not (tmp_path / "data").exists()


def test_an_address_in_use_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = _run("serve", "--data", str(tmp_path / "data"), "--listen", listen)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"stillhouse: cannot listen on {listen}: ")
    assert not (tmp_path / "data").exists()


def test_its_repository_is_sound_and_says_since_when(service: Service, cluster: str) -> None:
    snapshot = service.request_snapshot(cluster, "to-be-verified")
    assert service.ended(snapshot) == "AVAILABLE"
    where = ("--repository", str(service.data / "repository"), "--kek-file", str(service.data / "kek"))
    verified = _run("repo", "verify", *where, "--cluster", cluster, "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    (told,) = json.loads(verified.stdout)["clusters"]
    assert told["damages"] == [] and told["packs_read"] == told["packs"] > 0
    (mine,) = [row for row in told["snapshots"] if row["snapshot"] == snapshot]
    assert mine["overdue_packs"] == [] and mine["oldest_scrub"]
    with service.log.open() as log:
        (said,) = [line for line in log if snapshot in line and '"snapshot available"' in line]
    assert json.loads(said)["scrub_overdue_packs"] == 0


def test_no_secret_is_written_in_the_clear(service: Service, cluster: str) -> None:
    mapped = rows(
        service.nodes(cluster)[0],
        "SELECT option_value FROM pg_user_mapping, pg_options_to_table(umoptions) WHERE option_name = 'password'",
        "gaussdb",
    )
    assert mapped, "the coordinator knows its data nodes' passwords"
    secrets = [PASSWORD, service.client().secret_key, (service.data / "kek").read_text().strip()]
    written = {path: path.read_bytes() for path in (service.log, *service.data.glob("catalog.sqlite*"))}
    # The database of the catalog is the workflow engine's too: its inputs, outputs and events are among this.
    assert service.rows("SELECT count(*) FROM workflow_status")[0][0] > 0
    for secret in [*secrets, *(password for (password,) in mapped)]:
        holders = [path.name for path, content in written.items() if secret.encode() in content]
        assert holders == []
    assert PROJECT.encode() in b"".join(written.values()), "what is looked through is what was written"


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.long
def test_tables_come_back_from_a_snapshot_into_their_cluster(service: Service, cluster: str) -> None:
    """By the check, by the job, and to the default name beside the table that is there."""
    before = contents(service, cluster)
    snapshot_id = service.request_snapshot(cluster, "with-the-tables")
    assert service.ended(snapshot_id) == "AVAILABLE"
    key = service.snapshot(snapshot_id)["backup_key"]
    with service.log_in(cluster) as connection:
        connection.execute("DELETE FROM accounts WHERE id % 3 = 0")
    path = f"/v1/{{p}}/snapshots/{snapshot_id}/table-restore"

    def wanted(target: tuple[str, str], *more: str) -> dict[str, Any]:
        sources = [{"schema_name": "public", "table_name": name} for name in ("accounts", *more)]
        targets = [{"schema_name": target[0], "table_name": target[1]}]
        targets += [{"schema_name": "", "table_name": ""} for _ in more]
        body = {"case_sensitive": True, "database": "gaussdb", "restore_table_list": sources}
        return body | {"target_table_list": targets}

    checked = service.call("POST", f"{path}-check", wanted(("public", "accounts"), "ghost")).json
    assert checked["check_table_name_result"] == {
        "database": None,
        "restore_table_list": ["public.ghost"],
        "target_table_list": ["public.accounts"],
    }

    def restore(body: dict[str, Any]) -> dict[str, Any]:
        answer = service.call("POST", path, body)
        assert answer.status == 200, answer.raw
        assert service.settled(cluster)["status"] == "AVAILABLE"
        job: dict[str, Any] = service.call("GET", f"/v1.0/{{p}}/job/{answer.json['job_id']}").json
        return job

    job = restore(wanted(("", "")))
    assert (job["job_name"], job["status"], job["progress"]) == ("restoreTableJob", "SUCCESS", "100%"), job
    with service.log_in(cluster) as connection:
        beside = connection.execute(
            CONTENTS.replace("accounts", f"public_dws_backup.accounts_{key}").encode()
        ).fetchone()
    assert beside == before != contents(service, cluster)
    assert restore(wanted(("public", "accounts")))["status"] == "SUCCESS"
    assert contents(service, cluster) == before
    job = restore(wanted(("public", "accounts"), "ghost"))
    assert job["status"] == "FAIL" and "public.ghost" in job["failed_detail"]
    assert contents(service, cluster) == before
