"""The official Python SDK against the API: what it reads of every answer it may get."""

from collections.abc import Iterator
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkdws.v2 import (
    BackupStrategyRequest,
    ClusterSnapshots,
    CopySnapshotRequest,
    CreateSnapshotPolicyRequest,
    CreateSnapshotPolicyRequestBody,
    CreateSnapshotRequest,
    CreateSnapshotRequestBody,
    DeleteSnapshotPolicyRequest,
    DeleteSnapshotRequest,
    DwsClient,
    LinkCopyReq,
    ListClusterDetailsRequest,
    ListClusterSnapshotsRequest,
    ListClustersRequest,
    ListSnapshotDetailsRequest,
    ListSnapshotPolicyRequest,
    ListSnapshotsRequest,
    ListSnapshotStatisticsRequest,
    Restore,
    RestoreClusterRequest,
    RestoreClusterRequestBody,
    Snapshot,
)
from huaweicloudsdkdws.v2.region.dws_region import DwsRegion

from support.api.application import OTHER_PROJECT, Service, serving_service

UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def sdk(service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    return sdk_for(service, monkeypatch, tmp_path)


def sdk_for(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    home: Any,
    project: str | None = None,
    secret_key: str | None = None,
) -> Any:
    """A client pointed at the service the way users do it: by the region's environment variable."""
    monkeypatch.setenv("HOME", str(home))  # the SDK keeps an application id there
    monkeypatch.setenv("HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1", service.endpoint)
    client = service.client
    credentials = BasicCredentials(
        client.access_key, secret_key or client.secret_key, project or client.project
    )
    return (
        DwsClient.new_builder()
        .with_credentials(credentials)
        .with_region(DwsRegion.value_of("local-1"))
        .build()
    )


def create(sdk: Any, cluster_id: str, name: str = "nightly") -> Any:
    snapshot = Snapshot(name=name, cluster_id=cluster_id, description="by the SDK: é")
    return sdk.create_snapshot(CreateSnapshotRequest(body=CreateSnapshotRequestBody(snapshot=snapshot)))


def restore(sdk: Any, snapshot_id: str, name: str = "orders-copy") -> Any:
    body = RestoreClusterRequestBody(restore=Restore(name=name))
    return sdk.restore_cluster(RestoreClusterRequest(snapshot_id=snapshot_id, body=body))


def detail(sdk: Any, snapshot_id: str) -> Any:
    return sdk.list_snapshot_details(ListSnapshotDetailsRequest(snapshot_id=snapshot_id))


def assert_raises(status: int, code: str, call: Any, *args: Any) -> None:
    with pytest.raises(ServiceResponseException) as raised:
        call(*args)
    assert (raised.value.status_code, raised.value.error_code) == (status, code)
    assert raised.value.error_msg
    assert len(raised.value.request_id) == 32


def test_the_day_of_a_snapshot(sdk: Any, service: Service) -> None:
    cluster_id = service.add_cluster()
    created = create(sdk, cluster_id)
    assert created.status_code == 200
    snapshot_id = created.snapshot.id

    shown = detail(sdk, snapshot_id).snapshot
    assert (shown.status, shown.description, shown.finished) == ("CREATING", "by the SDK: é", "")
    service.finish_snapshot(snapshot_id)
    shown = detail(sdk, snapshot_id).snapshot
    assert (shown.status, shown.type, shown.prior_backup_key) == ("AVAILABLE", "MANUAL", "FULL")

    listed = sdk.list_snapshots(ListSnapshotsRequest())
    assert (listed.count, listed.snapshots[0].id) == (1, snapshot_id)
    request = ListClusterSnapshotsRequest(
        cluster_id=cluster_id, limit=10, offset=0, sort_key="started", sort_dir="desc"
    )
    of_cluster = sdk.list_cluster_snapshots(request)
    assert isinstance(of_cluster.snapshots[0], ClusterSnapshots)
    assert (of_cluster.count, of_cluster.snapshots[0].id) == (1, snapshot_id)

    restored = restore(sdk, snapshot_id)
    assert restored.status_code == 200
    cluster = sdk.list_cluster_details(ListClusterDetailsRequest(cluster_id=restored.cluster.id)).cluster
    assert (cluster.status, cluster.task_status) == ("CREATING", "RESTORING")
    assert len(sdk.list_clusters(ListClustersRequest()).clusters) == 2

    service.finish_restore(restored.cluster.id)
    deleted = sdk.delete_snapshot(DeleteSnapshotRequest(snapshot_id=snapshot_id))
    assert (deleted.status_code, deleted.error_code) == (202, None)
    assert_raises(400, "DWS.5149", detail, sdk, snapshot_id)


def test_the_day_of_an_automated_snapshot(sdk: Any, service: Service) -> None:
    cluster = service.add_cluster()
    strategy = BackupStrategyRequest(
        policy_name="weekly-full", backup_strategy="0 0 2 ? * 1", backup_type="full", backup_level="cluster"
    )
    body = CreateSnapshotPolicyRequestBody(
        keep_day=7, auto_backup=True, device_name="OBS", backup_strategies=[strategy]
    )
    answered = sdk.create_snapshot_policy(CreateSnapshotPolicyRequest(cluster_id=cluster, body=body))
    assert answered.status_code == 200
    listed = sdk.list_snapshot_policy(ListSnapshotPolicyRequest(cluster_id=cluster))
    (found,) = listed.backup_strategies
    assert (listed.keep_day, listed.auto_backup, listed.device_name) == (7, True, "OBS")
    assert (found.policy_name, found.backup_strategy, found.backup_type) == (
        "weekly-full",
        "0 0 2 ? * 1",
        "full",
    )
    assert found.next_fire_time.isdigit() and found.time_zone_offset == 0
    deleted = sdk.delete_snapshot_policy(DeleteSnapshotPolicyRequest(cluster_id=cluster, id=found.policy_id))
    assert deleted.status_code == 200

    automated = service.take_automated(cluster)
    of_cluster = sdk.list_cluster_snapshots(ListClusterSnapshotsRequest(cluster_id=cluster)).snapshots[0]
    assert (of_cluster.type, of_cluster.bak_keep_day, of_cluster.bak_period) == ("AUTO", 7, "0 0 2 ? * *")
    request = CopySnapshotRequest(
        snapshot_id=automated, body=LinkCopyReq(backup_name="month-end", description="kept")
    )
    copied = sdk.copy_snapshot(request).snapshot_id
    shown = sdk.list_snapshot_details(ListSnapshotDetailsRequest(snapshot_id=copied)).snapshot
    assert (shown.name, shown.type, shown.description) == ("month-end", "MANUAL", "kept")
    counted = sdk.list_snapshot_statistics(ListSnapshotStatisticsRequest(cluster_id=cluster)).statistics
    assert [(one.name, one.unit) for one in counted] == [
        ("storage.free", "GB"),
        ("storage.paid", "GB"),
        ("storage.used", "GB"),
    ]


def test_a_refusal_is_read_with_status_code_message_and_request_id(
    sdk: Any, service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    cluster_id = service.add_cluster()
    broken_id = service.add_cluster(status="CREATE_FAILED")
    assert_raises(400, "DWS.0001", create, sdk, cluster_id, "abc")
    assert_raises(400, "DWS.0001", create, sdk, "nope")
    assert_raises(400, "DWS.5149", detail, sdk, UNKNOWN)
    assert_raises(400, "DWS.0001", sdk.delete_snapshot, DeleteSnapshotRequest(snapshot_id=UNKNOWN))
    assert_raises(400, "DWS.5149", restore, sdk, UNKNOWN)
    assert_raises(403, "DWS.7023", create, sdk, broken_id)
    assert_raises(404, "DWS.0047", create, sdk, UNKNOWN)
    snapshot_id = create(sdk, cluster_id).snapshot.id
    for number in range(service.control.settings.snapshot_queue):
        create(sdk, cluster_id, f"waiting-{number}")
    assert_raises(409, "DWS.0011", create, sdk, cluster_id, "another")
    assert_raises(403, "DWS.7023", restore, sdk, snapshot_id)
    service.finish_snapshot(snapshot_id)
    assert_raises(400, "DWS.5039", create, sdk, cluster_id, "NIGHTLY")
    assert_raises(409, "DWS.5050", restore, sdk, snapshot_id, service.list_clusters()[0]["name"])

    stranger = sdk_for(service, monkeypatch, tmp_path, project=OTHER_PROJECT)
    assert_raises(403, "DWS.0015", detail, stranger, snapshot_id)
    forger = sdk_for(service, monkeypatch, tmp_path, secret_key="wrong")
    assert_raises(401, "APIGW.0301", detail, forger, snapshot_id)
    assert_raises(401, "APIGW.0301", create, forger, cluster_id)
    unfilled = sdk_for(service, monkeypatch, tmp_path, project="{project_id}")
    assert_raises(400, "DWS.0001", create, unfilled, cluster_id)


def test_an_operation_that_is_not_built_yet_says_so(sdk: Any) -> None:
    from huaweicloudsdkdws.v2 import ListAlarmConfigsRequest

    assert_raises(400, "DWS.5095", sdk.list_alarm_configs, ListAlarmConfigsRequest())


def test_a_failure_of_the_server_is_read_as_one(sdk: Any, service: Service) -> None:
    service.plant_bug("boom")
    assert_raises(500, "DWS.0005", sdk.list_snapshots, ListSnapshotsRequest())


def test_an_unusable_catalog_is_read_as_unavailable(sdk: Any, service: Service) -> None:
    service.break_catalog()
    assert_raises(503, "DWS.0005", sdk.list_snapshots, ListSnapshotsRequest())


def test_a_shutdown_is_read_as_unavailable(sdk: Any, service: Service) -> None:
    service.shutting_down.set()
    assert_raises(503, "DWS.0005", sdk.list_snapshots, ListSnapshotsRequest())
