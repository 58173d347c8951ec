"""Stillhouse in a minute, for real: a warehouse, a snapshot through the official SDK, a restore, the proof.

Run it by `make demo`, which puts `tests` on the path: the proof is shared with the tests. `make demo KEEP=1` leaves
everything running. Exit code 0 only if the restored cluster equals
the source as it was at the moment of the snapshot.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from demo_service import (
    await_cluster,
    bar,
    console,
    delete_cluster,
    end_by_signals,
    running_service,
    sdk_client,
)
from huaweicloudsdkdws import v2 as dws
from rich.markup import escape
from rich.table import Table

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Node
from stillhouse.repository.format.cipher_keys import load_or_create_kek, open_keys
from stillhouse.repository.objects import roots
from stillhouse.storage.local import LocalStore
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.proof.structure import check_structure
from support.proof import against_source
from support.proof.against_source import Difference, NodeFingerprint

USER, PASSWORD, DATABASE = "dbadmin", "Demo-Pass-2026", "gaussdb"
DIFFERENCES_SHOWN = 20


@dataclass
class Step:
    """A line of the last table; 0 bytes = not about bytes. `pages` were stored, of all that the cluster has."""

    name: str
    seconds: float = 0.0
    size: int = 0
    pages: int = 0
    stored: int = 0


@dataclass
class Steps:
    done: list[Step] = field(default_factory=list)

    @contextmanager
    def measured(self, name: str) -> Iterator[Step]:
        step, started = Step(name), time.monotonic()
        yield step
        step.seconds = time.monotonic() - started
        self.done.append(step)


def create_cluster(client: Any) -> Any:
    wanted = dws.CreateClusterInfo(
        name="demo-warehouse",
        node_type="dws2.km1.xlarge",
        number_of_node=2,
        vpc_id="vpc",
        subnet_id="subnet",
        security_group_id="group",
        user_name=USER,
        user_pwd=PASSWORD,
    )
    body = dws.CreateClusterRequestBody(cluster=wanted)
    created = client.create_cluster(dws.CreateClusterRequest(body=body)).cluster
    return await_cluster(client, created.id, "Provision 1 CN + 2 DN")


def log_in(cluster: Any) -> psycopg.Connection[Any]:
    host, port = cluster.endpoints[0].connect_info.split(":")
    return psycopg.connect(
        host=host, port=port, user=USER, password=PASSWORD, dbname=DATABASE, autocommit=True
    )


def load(cluster: Any, rows: int) -> None:
    """Accounts over the data nodes; on the coordinator events, whose text compresses poorly."""
    statements: list[tuple[str, Sequence[int]]] = [
        (
            "SELECT stillhouse.create_distributed_table('public.accounts',"
            " 'id bigint NOT NULL, balance bigint NOT NULL, owner text NOT NULL', 'id', 'PRIMARY KEY (id)')",
            (),
        ),
        ("INSERT INTO accounts SELECT g, g %% 1000, 'owner ' || g FROM generate_series(1, %s) g", [rows]),
        (
            "CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(),"
            " body text NOT NULL CHECK (length(body) > 0))",
            (),
        ),
        (
            "INSERT INTO events (body) SELECT string_agg(md5(random()::text), '')"
            " FROM generate_series(1, %s) g, generate_series(1, 6) GROUP BY g",
            [rows],
        ),
        ("CREATE INDEX events_at ON events (at, id)", ()),
    ]
    with bar("Load data") as show, closing(log_in(cluster)) as connection:
        for number, (statement, parameters) in enumerate(statements, 1):
            connection.execute(statement.encode(), parameters or None)
            show(100 * number / len(statements))


def change(cluster: Any) -> None:
    """What happens after the snapshot must not show in its restore."""
    with closing(log_in(cluster)) as connection:
        connection.execute(
            "UPDATE accounts SET balance = balance + 1 WHERE id <= (SELECT max(id) / 100 FROM accounts)"
        )
        connection.execute("DELETE FROM events WHERE id <= (SELECT max(id) / 100 FROM events)")
        connection.execute("DROP INDEX events_at")
        connection.execute("CREATE TABLE afterwards AS SELECT 1 AS one")


def take_snapshot(client: Any, cluster: Any, name: str, title: str) -> Any:
    snapshot = dws.Snapshot(name=name, cluster_id=cluster.id, description="taken by the demo")
    body = dws.CreateSnapshotRequestBody(snapshot=snapshot)
    created = client.create_snapshot(dws.CreateSnapshotRequest(body=body)).snapshot
    await_cluster(client, cluster.id, title)
    found = client.list_snapshot_details(dws.ListSnapshotDetailsRequest(snapshot_id=created.id)).snapshot
    if found.status != "AVAILABLE":
        raise SystemExit(f"the snapshot {name} is {found.status}")
    return found


def restore(client: Any, snapshot: Any) -> Any:
    body = dws.RestoreClusterRequestBody(restore=dws.Restore(name="demo-restored"))
    request = dws.RestoreClusterRequest(snapshot_id=snapshot.id, body=body)
    return await_cluster(client, client.restore_cluster(request).cluster.id, "Restore into a new cluster")


def read_all(site: Site, cluster: Any, title: str) -> list[NodeFingerprint]:
    """A fingerprint of every node, read through its own socket."""
    nodes = embedded.planned_nodes(site, cluster.id)
    return _with_bar(title, nodes, lambda node: against_source.fingerprint(node, site.binaries, nodes))


def prove(site: Site, restored: Any, source: list[NodeFingerprint]) -> list[Difference]:
    """Every row, sequence and definition as the source had them, and every node sound."""
    found = against_source.compare(source, read_all(site, restored, "Read the restored cluster"))
    nodes = embedded.planned_nodes(site, restored.id)
    structures = _with_bar("Check its structure", nodes, check_structure)
    found += [
        Difference(node.name, f"structure: {line}")
        for node, structure in zip(nodes, structures, strict=True)
        for line in (*structure.findings, *structure.unchecked)
    ]
    return found


def _with_bar(title: str, nodes: Sequence[Node], work: Callable[[Node], Any]) -> list[Any]:
    results = []
    with bar(title) as show:
        for node in nodes:
            results.append(work(node))
            show(100 * len(results) / len(nodes))
    return results


def size_of(snapshot: Any) -> int:
    """The API tells GB of 1024 MB each."""
    return int(snapshot.size * 1024**3)


def pages_stored(data: Path, snapshot: Any) -> int:
    """Told by the snapshot's root in the repository."""
    store = LocalStore(data / "repository", SystemClock())
    kek, _ = load_or_create_kek(data / "kek")
    root = roots.read(store, open_keys(store, kek, snapshot.cluster_id), snapshot.id)
    assert root is not None, "an available snapshot has a root"
    return sum(node.pages_stored for node in root.nodes)


def stored_bytes(data: Path) -> int:
    return sum(path.stat().st_size for path in (data / "repository").rglob("*") if path.is_file())


def report(steps: Steps, source: list[NodeFingerprint], differences: list[Difference]) -> None:
    table = Table(title="What was done")
    for column in ("step", "seconds", "MB", "MB/s", "pages stored", "MB stored"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for step in steps.done:
        cells = (
            [f"{step.size / 1e6:,.0f}", f"{step.size / 1e6 / step.seconds:,.0f}"] if step.size else ["", ""]
        )
        cells += [f"{step.pages:,}", f"{step.stored / 1e6:,.1f}"] if step.stored else ["", ""]
        table.add_row(step.name, f"{step.seconds:.1f}", *cells)
    console.print(table)
    databases = [read for node in source for read in node.databases.values()]
    rows = [counted for read in databases for counted in read.rows.values()]
    console.print(
        f"Compared on {len(source)} nodes: {sum(counted.count for counted in rows):,} rows of {len(rows)} tables,"
        f" {sum(len(read.definitions) for read in databases):,} definitions,"
        f" {sum(len(read.sequences) for read in databases)} sequences"
    )
    for difference in differences[:DIFFERENCES_SHOWN]:
        console.print(f"[red]{escape(str(difference))}[/]")
    console.print(
        f"[red]Not equal: {len(differences)} differences[/]" if differences else "[green]Proved equal[/]"
    )


def demo(rows: int, place: Path, keep: bool) -> bool:
    steps = Steps()
    with running_service(place, keep) as service:
        client, site = sdk_client(service), embedded.open_site(service.data)
        with steps.measured("Provision"):
            cluster = create_cluster(client)
        with steps.measured("Load"):
            load(cluster, rows)
        with steps.measured("Read the source"):
            source = read_all(site, cluster, "Read the source")
        with steps.measured("Snapshot") as step:
            snapshot = take_snapshot(client, cluster, "before-upgrade", "Snapshot")
            step.size, step.stored = size_of(snapshot), stored_bytes(service.data)
            step.pages = pages_stored(service.data, snapshot)
        change(cluster)
        with steps.measured("Incremental snapshot") as step:
            second = take_snapshot(client, cluster, "after-upgrade", "Incremental snapshot")
            step.size, step.stored = size_of(second), stored_bytes(service.data) - steps.done[-1].stored
            step.pages = pages_stored(service.data, second)
        with steps.measured("Restore the first") as step:
            restored = restore(client, snapshot)
            step.size = size_of(snapshot)
        with steps.measured("Prove"):
            differences = prove(site, restored, source)
            if not against_source.compare(source, read_all(site, cluster, "Read the changed source")):
                raise SystemExit(
                    "the proof is worth nothing: it does not tell the changed source from the old one"
                )
        if keep:
            for one in (cluster, restored):
                address = one.endpoints[0].connect_info
                console.print(f"{one.name}: postgresql://{USER}:{PASSWORD}@{address}/{DATABASE}")
        else:
            with steps.measured("Delete"):
                _with_bar(
                    "Delete both clusters", (cluster, restored), lambda one: delete_cluster(client, one.id)
                )
        report(steps, source, differences)
    return not differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="how many accounts, and events, to load")
    parser.add_argument(
        "--place", type=Path, default=Path("/var/tmp"), help="where to make the data directory"
    )
    parser.add_argument("--keep", action="store_true", help="leave the service and both clusters running")
    arguments = parser.parse_args()
    end_by_signals()
    return 0 if demo(arguments.rows, arguments.place, arguments.keep) else 1


if __name__ == "__main__":
    sys.exit(main())
