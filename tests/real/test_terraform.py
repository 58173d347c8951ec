"""What the Terraform provider calls, reads and waits for, call by call, against a running service."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.api.client import Answer
from support.processes.service import PASSWORD, Service, serving

pytestmark = pytest.mark.long

# As the provider's documentation and source have them.
_DONE = ("AVAILABLE", "ACTIVE")
_RESOURCE = "application/json;charset=UTF-8"


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "terraform") as running:
        yield running


class Provider:
    """The provider's way of asking: it signs no host, adds the project after signing, and decodes every body."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._client = service.client()

    def send(self, method: str, path: str, body: Any = None) -> Answer:
        return self._client.request(
            method,
            path,
            body,
            content_type=_RESOURCE,
            host_signed=False,
            unsigned={"X-Project-Id": self._client.project, "X-Language": "en-us"},
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.send(method, path, body)
        accepted = {"GET": (200,), "DELETE": (200, 202, 204)}.get(method, (200, 201, 202))
        assert answer.status in accepted, answer.raw
        return answer.json

    def cluster(self, cluster_id: str) -> Any:
        return self.ask("GET", f"/v1.0/{{p}}/clusters/{cluster_id}")["cluster"]

    def await_created(self, cluster_id: str) -> Any:
        def look() -> Any:
            shown = self.cluster(cluster_id)
            assert shown["status"] not in ("FAILED", "CREATE_FAILED", "CREATION FAILED"), shown
            return not shown["action_progress"] and shown["status"] in _DONE and shown

        return self._service.until("the cluster to be created", look)

    def await_idle(self, cluster_id: str) -> Any:
        def look() -> Any:
            shown = self.cluster(cluster_id)
            if shown["task_status"] is None and shown["status"] in _DONE:
                return shown
            assert "ING" in shown["task_status"], shown
            return None

        return self._service.until("the cluster to be idle", look)

    def await_snapshot(self, snapshot_id: str) -> Any:
        def look() -> Any:
            shown = self.ask("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}")["snapshot"]
            assert shown["status"] != "UNAVAILABLE", shown
            return shown["status"] == "AVAILABLE" and shown

        return self._service.until("the snapshot to be available", look)

    def await_gone(self, cluster_id: str) -> None:
        def look() -> bool:
            answer = self.send("GET", f"/v1.0/{{p}}/clusters/{cluster_id}")
            if answer.status == 200:
                assert answer.json["cluster"]["status"] not in ("FAILED", "DELETE_FAILED", "FROZEN")
                return False
            assert (answer.status, answer.error_code) in ((404, "DWS.0047"), (404, "DWS.3027"))
            return True

        self._service.until("the cluster to be gone", look)


def test_a_plan_is_applied_read_and_destroyed(service: Service) -> None:
    provider = Provider(service)
    zone = _data_sources_before(provider)
    cluster_id = _create_cluster(provider, zone)
    snapshot_id = _create_snapshot(provider, cluster_id)
    _data_sources_of_snapshots(provider, cluster_id, snapshot_id)
    _policy(provider, cluster_id)
    _tags(provider, cluster_id)
    _actions(provider, service, cluster_id)
    _destroy(provider, cluster_id, snapshot_id)


def _data_sources_before(provider: Provider) -> str:
    """Flavours, zones, quotas and statistics, as a plan reads them first."""
    (node_type,) = provider.ask("GET", "/v2/{p}/node-types")["node_types"]
    zones = [zone["code"] for zone in node_type["availability_zones"] if zone["status"] == "normal"]
    sizes = [one["value"] for one in node_type["detail"] if one["type"] in ("SSD", "LOCAL_DISK")]
    assert float(sizes[0]) > 0
    found = provider.ask("GET", "/v1.0/{p}/availability-zones")["availability_zones"]
    assert zones == [zone["code"] for zone in found if zone["status"] == "available"]
    assert provider.ask("GET", "/v1.0/{p}/quotas")["quotas"]["resources"]
    assert {one["unit"] for one in provider.ask("GET", "/v1.0/{p}/statistics")["statistics"]} == {"", "GB"}
    assert provider.ask("GET", "/v1.0/{p}/clusters")["clusters"] == []
    return str(zones[0])


def _create_cluster(provider: Provider, zone: str) -> str:
    wanted = {
        "name": "by-terraform",
        "node_type": "stillhouse.host",
        "number_of_node": 1,
        "availability_zone": zone,
        "vpc_id": "vpc-1",
        "subnet_id": "subnet-1",
        "security_group_id": "sg-1",
        "user_name": "dbadmin",
        "user_pwd": PASSWORD,
        "port": 8000,
        "tags": [{"key": "team", "value": "bi"}],
    }
    cluster_id = str(provider.ask("POST", "/v1.0/{p}/clusters", {"cluster": wanted})["cluster"]["id"])
    shown = provider.await_created(cluster_id)
    for key in wanted.keys() - {"user_pwd"}:
        assert shown[key] == wanted[key], key
    assert _reads(shown["created"], "%Y-%m-%dT%H:%M:%SZ")
    (listed,) = provider.ask("GET", "/v1.0/{p}/clusters")["clusters"]
    assert listed["id"] == cluster_id
    return cluster_id


def _create_snapshot(provider: Provider, cluster_id: str) -> str:
    wanted = {"name": "first-snapshot", "cluster_id": cluster_id, "description": "by Terraform"}
    created = provider.ask("POST", "/v1.0/{p}/snapshots", {"snapshot": wanted})
    snapshot_id = str(created["snapshot"]["id"])
    shown = provider.await_snapshot(snapshot_id)
    assert {key: shown[key] for key in wanted} == wanted
    assert (shown["type"], shown["size"] > 0) == ("MANUAL", True)
    # Whoever waits for the snapshot may use the cluster at once.
    idle = provider.cluster(cluster_id)
    assert (idle["task_status"], idle["action_progress"], idle["sub_status"]) == (None, {}, "NORMAL")
    return snapshot_id


def _data_sources_of_snapshots(provider: Provider, cluster_id: str, snapshot_id: str) -> None:
    for path in ("/v1.0/{p}/snapshots", f"/v1.0/{{p}}/clusters/{cluster_id}/snapshots"):
        (listed,) = provider.ask("GET", path)["snapshots"]
        assert listed["id"] == snapshot_id
        for key in ("started", "finished", "updated"):
            assert _reads(listed[key], "%Y-%m-%dT%H:%M:%S")
    (flavor,) = provider.ask("GET", f"/v2/{{p}}/snapshots/{snapshot_id}/flavors")["flavors"]
    assert flavor["min_node"] == 1


def _policy(provider: Provider, cluster_id: str) -> None:
    """One strategy per resource, with a `cluster_id` in it that no document knows; the others stay."""
    path = f"/v2/{{p}}/clusters/{cluster_id}/snapshot-policies"
    before = [one["policy_name"] for one in provider.ask("GET", path)["backup_strategies"]]
    wanted = {
        "policy_name": "by-terraform",
        "cluster_id": cluster_id,
        "backup_type": "full",
        "backup_strategy": "0 8 6 4 * ?",
        "backup_level": "cluster",
    }
    assert provider.ask("PUT", path, {"backup_strategies": [wanted]}) == {}
    found = {one["policy_name"]: one for one in provider.ask("GET", path)["backup_strategies"]}
    assert {*found} == {*before, "by-terraform"}
    made = found["by-terraform"]
    for key in ("backup_type", "backup_strategy"):
        assert made[key] == wanted[key]
    provider.ask("DELETE", f"/v1.0/{{p}}/clusters/{cluster_id}/snapshot-policies/{made['policy_id']}")
    assert [one["policy_name"] for one in provider.ask("GET", path)["backup_strategies"]] == before


def _reads(moment: str, layout: str) -> datetime:
    """As the provider parses it: by exactly this layout."""
    return datetime.strptime(f"{moment} +0000", f"{layout} %z")


def _tags(provider: Provider, cluster_id: str) -> None:
    path = f"/v1.0/{{p}}/clusters/{cluster_id}/tags"
    assert provider.ask("POST", path + "/batch-delete", {"tags": [{"key": "team", "value": "bi"}]}) == {}
    assert provider.ask("POST", path + "/batch-create", {"tags": [{"key": "cost", "value": "7"}]}) == {}
    assert provider.ask("GET", path)["tags"] == [{"key": "cost", "value": "7"}]
    assert provider.cluster(cluster_id)["tags"] == [{"key": "cost", "value": "7"}]


def _actions(provider: Provider, service: Service, cluster_id: str) -> None:
    """Restart, stop and start, without a body; a stopped cluster takes nobody in until it is started."""
    provider.ask("POST", f"/v1.0/{{p}}/clusters/{cluster_id}/restart")
    provider.await_idle(cluster_id)
    job = provider.ask("POST", f"/v1/{{p}}/clusters/{cluster_id}/stop")["job_id"]
    stopped = provider.await_idle(cluster_id)
    assert {node["status"] for node in stopped["nodes"]} == {"300"}
    assert provider.ask("GET", f"/v1.0/{{p}}/job/{job}")["status"] == "SUCCESS"
    with pytest.raises(psycopg.OperationalError):
        service.log_in(cluster_id)
    service.kill()
    service.start()  # what was stopped stays so over a crash
    with pytest.raises(psycopg.OperationalError):
        service.log_in(cluster_id)
    provider.ask("POST", f"/v1/{{p}}/clusters/{cluster_id}/start")
    started = provider.await_idle(cluster_id)
    assert {node["status"] for node in started["nodes"]} == {"200"}
    service.log_in(cluster_id).close()


def _destroy(provider: Provider, cluster_id: str, snapshot_id: str) -> None:
    path = f"/v1.0/{{p}}/snapshots/{snapshot_id}"
    provider.ask("DELETE", path)
    gone = provider.send("GET", path)
    assert (gone.status, gone.error_code) == (400, "DWS.5149")
    again = provider.send("DELETE", path)
    assert (again.status, again.error_code) == (400, "DWS.0001")
    answer = provider.send("DELETE", f"/v1.0/{{p}}/clusters/{cluster_id}", {"keep_last_manual_snapshot": 0})
    assert (answer.status, answer.json) == (202, {})
    provider.await_gone(cluster_id)
