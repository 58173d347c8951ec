"""`stillhouse serve` as a process of its own, started, killed and started again over one data directory."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from stillhouse.domain.cluster import Node
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cluster import embedded
from support.api.client import Answer, SignedClient

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
PASSWORD = "Str0ng-Pass-11"
COMMAND = [sys.executable, "-m", "stillhouse"]
SECONDS = 240.0


class Service:
    """One data directory and, most of the time, a service over it."""

    def __init__(self, data: Path, sources: Path | None = None, authority: Path | None = None) -> None:
        """`sources` are those of another version, which is run in place of ours. With an `authority` it speaks TLS.

        `catalog` is the URL of its catalog on PostgreSQL, "" for the file in the data directory.
        """
        self.data = data
        self.catalog = ""
        self.sources = sources
        self.log = data.with_name(f"{data.name}.log")
        self.patience = SECONDS  # for anything that is awaited
        self._process: subprocess.Popen[bytes] | None = None
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._key: dict[str, str] = {}
        self._scheme = "https" if authority else "http"
        trust = ssl.create_default_context(cafile=authority) if authority else True
        self._http = httpx.Client(timeout=120, verify=trust)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def start(self, command: list[str] | None = None) -> None:
        """Start it, by our own command or by one that is under test, and wait until it is ready."""
        self.launch(command)
        self.until("the service to be ready", self.is_ready)

    def launch(self, command: list[str] | None = None) -> None:
        """Start it, and do not wait."""
        ours = [*COMMAND, "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command or ours,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=self.environment(),
            )

    def environment(self) -> dict[str, str]:
        of_others = {"PYTHONPATH": str(self.sources)} if self.sources else {}
        return os.environ | of_others | ({"STILLHOUSE_CATALOG": self.catalog} if self.catalog else {})

    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self._http.get(f"{self.url}/healthz", timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """As the kernel's out-of-memory killer does: the service alone, without a word."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(30)

    def stop(self) -> int:
        """Ask it to end, as an operator does; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def tell(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def until(
        self, what: str, holds: Callable[[], Any], seconds: float | None = None, every: float = 0.02
    ) -> Any:
        """Look again and again until it holds; what it holds is returned."""
        seconds = seconds or self.patience
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := holds():
                return found
            time.sleep(every)
        raise AssertionError(f"waited {seconds} s for {what}; the log ends: {self.log.read_text()[-2000:]}")

    def client(self, project: str = PROJECT) -> SignedClient:
        if project not in self._key:
            done = subprocess.run(
                [*COMMAND, "key", "create", "--data", str(self.data), "--project", project, "--json"],
                check=True,
                capture_output=True,
                text=True,
                env=self.environment(),
            )
            self._key[project] = done.stdout
        key = json.loads(self._key[project])
        return SignedClient(self.url, key["project_id"], key["access_key"], key["secret_key"], self._http)

    def use_key(self, key: SignedClient) -> None:
        """Sign with a key that another service of the same installation has made."""
        self._key[key.project] = json.dumps(
            {"project_id": key.project, "access_key": key.access_key, "secret_key": key.secret_key}
        )

    # -- requests, in short ------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, project: str = PROJECT) -> Answer:
        return self.client(project).request(method, path, body)

    def create_cluster(self, name: str, nodes: int) -> str:
        cluster_id = self.request_cluster(name, nodes)
        assert self.settled(cluster_id)["status"] == "AVAILABLE"
        return cluster_id

    def request_cluster(self, name: str, nodes: int) -> str:
        wanted = {
            "name": name,
            "node_type": "dws2.km1.xlarge",
            "number_of_node": nodes,
            "vpc_id": "v",
            "subnet_id": "s",
            "security_group_id": "g",
            "user_name": "dbadmin",
            "user_pwd": PASSWORD,
        }
        answer = self.call("POST", "/v1.0/{p}/clusters", {"cluster": wanted})
        assert answer.status == 200, answer.raw
        cluster_id: str = answer.json["cluster"]["id"]
        return cluster_id

    def cluster(self, cluster_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").json["cluster"]
        return found

    def settled(self, cluster_id: str) -> dict[str, Any]:
        """The cluster once nothing holds it."""

        def look() -> dict[str, Any] | None:
            found = self.cluster(cluster_id)
            return found if found["status"] != "CREATING" and not found["action_progress"] else None

        settled: dict[str, Any] = self.until(f"cluster {cluster_id} to settle", look)
        return settled

    def request_snapshot(self, cluster_id: str, name: str) -> str:
        answer = self.call(
            "POST", "/v1.0/{p}/snapshots", {"snapshot": {"name": name, "cluster_id": cluster_id}}
        )
        assert answer.status == 200, answer.raw
        snapshot_id: str = answer.json["snapshot"]["id"]
        return snapshot_id

    def snapshot(self, snapshot_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/v1.0/{{p}}/snapshots/{snapshot_id}").json["snapshot"]
        return found

    def ended(self, snapshot_id: str) -> str:
        """The snapshot's status once it is no longer being taken."""

        def look() -> str | None:
            status: str = self.snapshot(snapshot_id)["status"]
            return status if status != "CREATING" else None

        status: str = self.until(f"snapshot {snapshot_id} to end", look)
        return status

    def restore(self, snapshot_id: str, name: str, settings: Mapping[str, str] | None = None) -> str:
        path = f"/v1.0/{{p}}/snapshots/{snapshot_id}/actions"
        answer = self.call("POST", path, {"restore": {"name": name, "server_settings": settings or {}}})
        assert answer.status == 200, answer.raw
        cluster_id: str = answer.json["cluster"]["id"]
        return cluster_id

    def restart_cluster(self, cluster_id: str) -> None:
        assert self.call("POST", f"/v1.0/{{p}}/clusters/{cluster_id}/restart").status == 200
        assert self.settled(cluster_id)["status"] == "AVAILABLE"

    def delete_cluster(self, cluster_id: str) -> None:
        """And wait until it is gone."""
        self.request_deletion(cluster_id)
        self.until(f"cluster {cluster_id} to be gone", lambda: self.is_gone(cluster_id))

    def request_deletion(self, cluster_id: str) -> None:
        path, kept = f"/v1.0/{{p}}/clusters/{cluster_id}", {"keep_last_manual_snapshot": 0}
        assert self.call("DELETE", path, kept).status == 202

    def is_gone(self, cluster_id: str) -> bool:
        return self.call("GET", f"/v1.0/{{p}}/clusters/{cluster_id}").status == 404

    def reason(self, snapshot_id: str) -> str:
        """Why the snapshot failed and what helps, as the catalog knows it; the DWS API has no field for it."""
        ((reason, hint),) = self.rows("SELECT reason, hint FROM sh_snapshots WHERE id = ?", snapshot_id)
        return f"{reason} ({hint})" if hint else str(reason)

    def log_in(self, cluster_id: str) -> psycopg.Connection[Any]:
        host, port = self.cluster(cluster_id)["endpoints"][0]["connect_info"].split(":")
        return psycopg.connect(
            host=host, port=int(port), user="dbadmin", password=PASSWORD, dbname="gaussdb", autocommit=True
        )

    # -- looking behind ----------------------------------------------------------------------------------------

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """What the catalog holds, read beside the service."""
        if self.catalog:
            with psycopg.connect(self.catalog) as connection:
                return connection.execute(query.replace("?", "%s"), arguments).fetchall()
        with closing(sqlite3.connect(f"file:{self.data / 'catalog.sqlite'}?mode=ro", uri=True)) as catalog:
            return catalog.execute(query, arguments).fetchall()

    def nodes(self, cluster_id: str) -> tuple[Node, ...]:
        return embedded.planned_nodes(embedded.open_site(self.data), cluster_id)

    def traces(self, cluster_id: str) -> list[str]:
        """Slots, backup sessions and gate sessions of ours that stand on the cluster's nodes."""
        return self.traces_on(self.nodes(cluster_id))

    def await_clean(self, cluster_id: str) -> None:
        """No slot, no backup session and no gate of ours on any node."""
        self.until("the warehouse to be clean", lambda: not self.traces(cluster_id), 20)

    def stands(self, cluster_id: str, name: str) -> bool:
        """A slot or a session of that name is there on some node."""
        return any(name in trace for trace in self.traces(cluster_id))

    def is_copied(self, snapshot_id: str) -> bool:
        """Some node is in backup mode for this snapshot."""
        ((cluster_id,),) = self.rows("SELECT cluster_id FROM sh_snapshots WHERE id = ?", snapshot_id)
        return self.stands(cluster_id, snapshot_id[:8])

    def attempts(self, snapshot_id: str) -> int:
        ((attempts,),) = self.rows("SELECT attempt FROM sh_snapshots WHERE id = ?", snapshot_id)
        return int(attempts)

    def traces_on(self, nodes: Sequence[Node]) -> list[str]:
        found: list[str] = []
        for node in nodes:
            with closing(session.connect(node, "postgres", application_name="test")) as connection:
                slots = connection.execute("SELECT slot_name FROM pg_replication_slots").fetchall()
                sessions = connection.execute(
                    "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'stillhouse%'"
                ).fetchall()
            found += [f"{node.name}: {name}" for (name,) in [*slots, *sessions]]
        return found

    def workers(self) -> list[int]:
        """Processes of node work: children of the one that the service has them forked of."""
        forking = [
            pid for pid in _children(self.pid) if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        return [worker for pid in forking for worker in _children(pid)]

    def remove(self) -> None:
        """End of the test: nothing of it may go on."""
        self._http.close()
        if self.is_alive:
            self.kill()
        site = embedded.open_site(self.data)
        for directory in site.clusters.iterdir():
            if directory.is_dir():
                embedded.destroy(site, directory.name)


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextmanager
def serving(data: Path, sources: Path | None = None, authority: Path | None = None) -> Iterator[Service]:
    """A service over a new data directory, until the end."""
    data.mkdir(mode=0o755)
    running = Service(data, sources, authority)
    try:
        running.start()
        yield running
    finally:
        running.remove()
        shutil.rmtree(data)


def fill(service: Service, cluster_id: str, rows: int) -> None:
    """A distributed table of accounts."""
    with service.log_in(cluster_id) as connection:
        connection.execute(
            "SELECT stillhouse.create_distributed_table("
            "'public.accounts', 'id bigint NOT NULL, balance bigint, pad text', 'id', 'PRIMARY KEY (id)')"
        )
        connection.execute(
            "INSERT INTO accounts SELECT g, 100, repeat(md5(g::text), 3) FROM generate_series(1, %s) g",
            [rows],
        )


def postmaster(node: Node) -> int:
    return int(Path(node.directory, "pgdata", "postmaster.pid").read_text().splitlines()[0])
