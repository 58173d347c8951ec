"""Asking the API in few words, and bringing about what a flow would."""

from typing import Any

from stillhouse.catalog import clusters, operations
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.reports.failure import Failure
from support.api.application import Service
from support.api.client import Answer


def get(service: Service, path: str, **query: str) -> Any:
    answer = service.client.request("GET", path, query=query)
    assert answer.status == 200, answer.raw
    return answer.json


def post(service: Service, path: str, body: Any = None) -> Answer:
    return service.client.request("POST", path, body)


def refused(answer: Answer, status: int, code: str) -> str:
    assert (answer.status, answer.error_code) == (status, code), answer.raw
    return str(answer.json["error_msg"])


def snapshot(service: Service, cluster_id: str, name: str = "nightly") -> str:
    body = {"snapshot": {"name": name, "cluster_id": cluster_id}}
    return str(post(service, "/v1.0/{p}/snapshots", body).json["snapshot"]["id"])


def end_operation(service: Service, cluster_id: str, reason: str = "") -> None:
    with service.control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster_id)
        assert operation is not None
        status = ClusterStatus.FAILED if reason else ClusterStatus.AVAILABLE
        now = service.control.clock.now()
        clusters.end_operation(
            transaction, operation.id, now, status, failure=Failure("", reason) if reason else None
        )
