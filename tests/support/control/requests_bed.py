"""The request side of `control` over a real catalog: flows are enqueued for real, but none is carried out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from stillhouse.catalog import clusters, operations, snapshots
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.config import Settings
from stillhouse.control.catalog_context import Caller
from stillhouse.control.clusters.requests import ClusterRequest, request_cluster
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.snapshots.queue import start_next
from stillhouse.control.snapshots.requests import request_snapshot
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.reports.failure import Failure
from stillhouse.durable.flows import Flows
from stillhouse.durable.plain_json import PlainJson
from stillhouse.postgres.host.account import fresh_account
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.repository.objects import identity
from stillhouse.sealing import Sealer
from stillhouse.storage.object_stores import memory_store
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.workers.jobs import Repository
from support.servers.catalog_server import fresh_database

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
OTHER_PROJECT = "f" * 32
PASSWORD = "Str0ng-Pass-11"
FLOWS = (
    "provision_cluster",
    "create_snapshot",
    "restore_cluster",
    "restore_tables",
    "delete_snapshot",
    "copy_snapshot",
    "prove_snapshot",
    "collect_cluster",
    "delete_cluster",
    "restart_cluster",
    "start_cluster",
    "stop_cluster",
)


@dataclass
class HandClock:
    """Advances a second each time it is read, so that rows have an order."""

    time: datetime = field(default_factory=lambda: datetime(2026, 11, 20, 8, 0, tzinfo=UTC))

    def now(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@contextmanager
def requests_bed(kind: str, data: Path) -> Iterator[Control]:
    with fresh_database(kind, data) as database:
        database.migrate()
        flows = Flows(database.url, after_commit)
        flows.prepare()
        for name in FLOWS:
            flows.register(name, lambda run, subject: None)
        yield Control(
            database=database,
            flows=flows,
            sealer=Sealer.in_directory(data),
            clock=HandClock(),
            settings=Settings(data=data, shared_account="accepted"),
            caller=Caller(access_key="A" * 20, request_id="request-1"),
        )
        flows.shutdown(within_seconds=0)


def enqueued(control: Control) -> list[tuple[str, str]]:
    """Flow names and subjects."""
    with control.database.reading() as reading:
        schema = "dbos." if reading.dialect.name == "postgresql" else ""
        query = (
            f"SELECT name, i.inputs FROM {schema}workflow_status"
            f" JOIN {schema}workflow_input AS i USING (workflow_uuid) ORDER BY created_at, name"
        )
        rows = reading.execute(text(query)).all()
    return [(name, *PlainJson().deserialize(inputs)["args"]) for name, inputs in rows]


def available_cluster(control: Control, name: str = "sales", project: str = PROJECT, **facts: Any) -> str:
    """A cluster as it is once its provisioning has ended."""
    request = ClusterRequest(name=name, number_of_node=2, user_pwd=PASSWORD, facts=facts)
    cluster_id = request_cluster(control, project, request)
    end_operation(control, cluster_id, ClusterStatus.AVAILABLE)
    return cluster_id


def end_operation(control: Control, cluster_id: str, status: ClusterStatus, reason: str = "") -> None:
    with control.database.transaction() as transaction:
        operation = operations.active(transaction, cluster_id)
        assert operation is not None
        now = control.clock.now()
        assert clusters.end_operation(
            transaction, operation.id, now, status, failure=Failure("", reason) if reason else None
        )


def request_snapshots(control: Control, cluster: str, *names: str) -> list[str]:
    """Request a snapshot by each name, in this order. Returns their ids."""
    return [request_snapshot(control, PROJECT, name=name, cluster_id=cluster) for name in names]


def finish_snapshot(control: Control, snapshot_id: str, plain_bytes: int = 1000) -> None:
    with control.database.transaction() as transaction:
        assert snapshots.mark_available(
            transaction, snapshot_id, control.clock.now(), plain_bytes=plain_bytes, stored_bytes=10
        )
        start_next(control, transaction, snapshots.read_snapshot(transaction, snapshot_id).cluster_id)


def with_repository(control: Control, directory: Path, kek: Kek) -> FlowContext:
    """The context of flows over a new repository in memory, without a server."""
    store = memory_store()
    repository = Repository("memory://", identity.claim(store), kek)
    site = Site(directory, Binaries(directory, "18.6", None), Sealer(bytes(32)), fresh_account)
    return FlowContext(control, site, Vault(store, repository), "0" * 8)
