"""The API over a real catalog in a directory of its own, with flows that are enqueued and never run.

What a flow would bring about, the tests bring about themselves, through the catalog.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from starlette.types import ASGIApp

from stillhouse import log
from stillhouse.bootstrap.faces import application
from stillhouse.catalog import clusters, operations, snapshots
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from stillhouse.clock import Clock, SystemClock
from stillhouse.config import Settings
from stillhouse.control.access.access_keys import create_access_key
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.schedule.automated import start_due_snapshots
from stillhouse.control.schedule.snapshot_policies import Strategy, set_policies
from stillhouse.control.snapshots.queue import start_next
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Node, Role
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import SnapshotType
from stillhouse.domain.snapshot_policies import BackupType
from stillhouse.durable.flows import Flows
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.repository.objects import identity, roots
from stillhouse.sealing import Sealer
from stillhouse.storage.open import open_store
from stillhouse.workers.jobs import Repository
from support.api.client import SignedClient, sign
from support.api.server import serving
from support.repositories.crafted_lines import Line
from support.repositories.tiny_captures import root_of, store_manifest, store_pack

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
OTHER_PROJECT = "f9e8d7c6b5a493827160f5e4d3c2b1a0"
PASSWORD = "Str0ng-Pass-2026"
FLOWS = (
    "provision_cluster",
    "restore_cluster",
    "restore_tables",
    "restart_cluster",
    "start_cluster",
    "stop_cluster",
    "delete_cluster",
    "create_snapshot",
    "delete_snapshot",
    "copy_snapshot",
    "prove_snapshot",
    "collect_cluster",
)


def a_cluster() -> dict[str, Any]:
    """The least that CreateCluster takes."""
    return {
        "name": "orders-dw",
        "node_type": "dws2.m6.4xlarge.8",
        "number_of_node": 2,
        "vpc_id": "vpc-a",
        "subnet_id": "subnet-a",
        "user_name": "dbadmin",
        "user_pwd": PASSWORD,
    }


class Switchboard:
    """A database whose `reading` and `transaction` can be made to fail, to plant a bug behind the routes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.bug: Exception | None = None
        self.good_calls_left = 0

    def __getattr__(self, name: str) -> Any:
        if self.bug and name in ("reading", "transaction"):
            self.good_calls_left -= 1
            if self.good_calls_left < 0:
                raise self.bug
        return getattr(self._database, name)


@dataclass(frozen=True)
class Service:
    endpoint: str
    control: Control
    client: SignedClient
    switchboard: Switchboard
    data: Path
    shutting_down: threading.Event

    def client_of_other_project(self) -> SignedClient:
        key = create_access_key(self.control, OTHER_PROJECT)
        return replace(
            self.client, project=OTHER_PROJECT, access_key=key.access_key, secret_key=key.secret_key
        )

    def signed_headers(self, method: str, path: str, body: bytes) -> dict[str, str]:
        headers = {
            "Host": urlsplit(self.endpoint).netloc,
            "X-Sdk-Date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        }
        authorization = sign(
            method=method,
            path=path.replace("{p}", self.client.project),
            query={},
            headers=headers,
            body=body,
            access_key=self.client.access_key,
            secret_key=self.client.secret_key,
        )
        return headers | {"Authorization": authorization}

    def add_cluster(self, status: str = "AVAILABLE", cluster_id: str = "") -> str:
        """A cluster of one, as its flow would leave it."""
        cluster_id, now = cluster_id or new_uuid(), self.control.clock.now()
        node = Node(
            id=new_uuid(),
            name="cn-1",
            role=Role.CN,
            host="127.0.0.1",
            port=8000,
            directory="/nowhere",
            socket="/nowhere",
        )
        cluster = Cluster(
            id=cluster_id,
            project=PROJECT,
            name=f"dw-{cluster_id}",
            engine=Engine.SINGLE,
            status=ClusterStatus(status),
            number_of_node=1,
            port=8000,
            user_name="dbadmin",
            created=now,
            updated=now,
        )
        with self.control.database.transaction() as transaction:
            clusters.insert_cluster(transaction, cluster)
            clusters.save_nodes(transaction, cluster_id, [node])
        return cluster_id

    def take_snapshot(self, cluster_id: str, name: str, plain_bytes: int) -> str:
        """A snapshot that is available."""
        body = {"snapshot": {"name": name, "cluster_id": cluster_id}}
        snapshot_id: str = self.client.request("POST", "/v1.0/{p}/snapshots", body).json["snapshot"]["id"]
        self.finish_snapshot(snapshot_id, plain_bytes)
        return snapshot_id

    def finish_snapshot(self, snapshot_id: str, plain_bytes: int = 5 * 2**20) -> None:
        with self.control.database.transaction() as transaction:
            snapshots.mark_available(
                transaction,
                snapshot_id,
                self.control.clock.now(),
                plain_bytes=plain_bytes,
                stored_bytes=2**20,
            )
            start_next(
                self.control, transaction, snapshots.read_snapshot(transaction, snapshot_id).cluster_id
            )

    def store_snapshot(self, snapshot_id: str, cluster_id: str, *lines: Line) -> None:
        """What its capture leaves in the repository: the cluster's keys, a manifest with these lines, the root."""
        vault = self.control.vault
        assert vault is not None
        keys = create_or_open(vault.store, vault.repository.kek, cluster_id)
        stored = store_manifest(vault.store, keys, [store_pack(vault.store, keys)], lines)
        roots.publish(vault.store, keys, root_of(snapshot_id, stored), [])

    def take_automated(self, cluster_id: str) -> str:
        """A nightly policy, what the timer does tomorrow, and the flow after it; the snapshot's id."""
        strategy = Strategy(name="nightly", schedule="0 0 2 ? * *", backup_type=BackupType.INCREMENT)
        set_policies(self.control, PROJECT, cluster_id, [strategy])
        nothing = cast(Any, None)
        place = FlowContext(self.control, nothing, nothing, "0" * 8)
        start_due_snapshots(place, self.control.clock.now() + timedelta(days=1))
        with self.control.database.reading() as reading:
            found = snapshots.of_cluster(reading, cluster_id)
        (made,) = [one.id for one in found if one.type is SnapshotType.AUTO]
        self.finish_snapshot(made)
        return made

    def finish_restore(self, cluster_id: str) -> None:
        with self.control.database.transaction() as transaction:
            operation = operations.active(transaction, cluster_id)
            assert operation is not None
            clusters.end_operation(
                transaction, operation.id, self.control.clock.now(), ClusterStatus.AVAILABLE
            )

    def list_snapshots(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.client.request("GET", "/v1.0/{p}/snapshots").json["snapshots"]
        return listed

    def list_clusters(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.client.request("GET", "/v1.0/{p}/clusters").json["clusters"]
        return listed

    def task_of(self, cluster_id: str) -> str:
        shown = self.client.request("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").json["cluster"]
        return str(shown["task_status"] or "")

    def break_catalog(self) -> None:
        """Put something else in the place of the catalog's file."""
        self.control.database.close()
        for path in self.data.glob("catalog.sqlite*"):
            path.unlink()
        (self.data / "catalog.sqlite").write_bytes(b"this is no database file" * 100)

    def plant_bug(self, message: str, *, good_calls: int = 1) -> None:
        """After `good_calls` uses of the catalog (the first looks up the access key) every one fails."""
        self.switchboard.good_calls_left = good_calls
        self.switchboard.bug = RuntimeError(message)

    def plant_bug_in_authentication(self) -> None:
        self.plant_bug("no key today", good_calls=0)


def app_of(service: Service) -> ASGIApp:
    """The application that the service's endpoint answers with."""
    return application(service.control, is_shutting_down=service.shutting_down.is_set)


@contextmanager
def serving_service(data: Path, clock: Clock | None = None) -> Iterator[Service]:
    log.configure("INFO")
    location = str(data / "repository")
    store = open_store(location)
    sealer = Sealer.in_directory(data)
    database = Database.in_directory(data, lambda: sealer)
    database.migrate()
    flows = Flows(database.url, after_commit)
    for name in FLOWS:
        flows.register(name, lambda _run, _subject: None)
    flows.prepare()
    switchboard: Any = Switchboard(database)
    control = Control(
        database=switchboard,
        flows=flows,
        sealer=sealer,
        clock=clock or SystemClock(),
        settings=Settings(
            data=data,
            shared_account="accepted",
            # Tests ask as fast as they can.
            requests_per_second_per_key=0,
            requests_per_second_per_project=0,
        ),
        vault=Vault(store, Repository(location, identity.claim(store), Kek(bytes(32)))),
    )
    shutting_down = threading.Event()
    key = create_access_key(control, PROJECT)
    app = application(control, is_shutting_down=shutting_down.is_set)
    with serving(app) as endpoint, httpx.Client(timeout=120, verify=False) as http:
        client = SignedClient(endpoint, PROJECT, key.access_key, key.secret_key, http)
        yield Service(endpoint, control, client, switchboard, data, shutting_down)
    database.close()
