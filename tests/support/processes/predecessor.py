"""An installation of an earlier version, made by that version's own program, and left as kill -9 leaves it."""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from stillhouse.domain.cluster import Node, Role
from stillhouse.postgres.host.account import database_account
from stillhouse.postgres.host.binaries import find_binaries
from stillhouse.postgres.sessions.session import SUPERUSER
from support.processes.service import COMMAND, Service, fill

ARCHIVES = sorted((Path(__file__).parents[2] / "predecessor").glob("*.tar.xz"))
# The last version that gave clusters neither an account nor passwords of their own.
BEFORE_ACCOUNTS = "stillhouse-7cf5f0a.tar.xz"
ROWS = 20_000
CONTENTS = "SELECT count(*), sum(balance), md5(string_agg(id || pad, ',' ORDER BY id)) FROM accounts"


@dataclass(frozen=True)
class Installation:
    """`sales` is at work and has the snapshot `usable`; `asleep` is stopped.

    In flight are the snapshot `waiting` of `sales`, which has all its bases, `clone`, which is being restored from
    `usable`, and `begun`, which is being made. `alone` is a directory into which `repo restore` has restored `usable`.
    """

    sales: str
    asleep: str
    usable: str
    waiting: str
    clone: str
    begun: str
    alone: Path
    contents: Any
    let_in_without_password: bool


def unpack(archive: Path, directory: Path) -> Path:
    """The sources of an earlier version, to be put on PYTHONPATH."""
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    return directory / "src"


def planned(service: Service, cluster_id: str) -> list[Node]:
    """The cluster's nodes as the earlier version has written them down; without secrets."""
    plan = json.loads((service.data / "clusters" / cluster_id / "nodes.json").read_text())
    entries = plan["nodes"] if isinstance(plan, dict) else plan
    known = {field.name for field in fields(Node)}
    kept = [{name: value for name, value in entry.items() if name in known} for entry in entries]
    return [Node(**{**entry, "role": Role(entry["role"])}) for entry in kept]


def refusal(service: Service, node: Node, *, by: Node | None = None) -> str:
    """Why the superuser's socket does not let in a program without a password that runs as the account of `by`, or as
    the one that all clusters share; "" if it does.
    """
    binaries = find_binaries(service.data, database_account("stillhouse"))
    answer = (binaries.of(by) if by else binaries).run(
        "pg_dump",
        "--no-password",
        "--schema-only",
        f"--host={node.socket}",
        f"--port={node.port}",
        f"--username={SUPERUSER}",
        "--dbname=postgres",
        timeout=60,
    )
    return answer.stderr.strip() if answer.returncode else ""


def contents(service: Service, cluster_id: str) -> Any:
    with service.log_in(cluster_id) as connection:
        return connection.execute(CONTENTS).fetchone()


def install(service: Service) -> Installation:
    """Have the service, which is an earlier version, do its work; then kill it in the midst of more."""
    asleep = service.create_cluster("asleep", 1)
    assert service.call("POST", f"/v1/{{p}}/clusters/{asleep}/stop").status in (200, 202)
    sales = service.create_cluster("sales", 2)
    fill(service, sales, ROWS)
    is_let_in = not refusal(service, planned(service, sales)[0])
    usable = service.request_snapshot(sales, "usable")
    assert service.ended(usable) == "AVAILABLE"
    alone = service.data.with_name(f"{service.data.name}-alone")
    restore_alone(service, alone, "--start")
    with service.log_in(sales) as writer:
        writer.execute("DELETE FROM accounts WHERE id % 7 = 0")
        before = writer.execute(CONTENTS).fetchone()
        writer.execute("BEGIN")
        writer.execute("INSERT INTO accounts VALUES (-1, 0, 'never')")
        waiting = service.request_snapshot(sales, "waiting")
        service.until("all bases", lambda: _states(service, waiting) == ["ready"] * 3)
        with _held_up(service, sales):
            clone = service.restore(usable, "clone")
            service.until("a node of the clone", lambda: _present(service, clone, "pgdata"))
            begun = service.request_cluster("begun", 1)
            service.until("a node", lambda: _present(service, begun, "pgdata"))
            service.kill()
        states = dict(service.rows("SELECT id, status FROM sh_clusters"))
        assert (states[clone], states[begun]) == ("CREATING", "CREATING")
        assert len(_present(service, clone, "pgdata")) < 3
        writer.close()
    return Installation(sales, asleep, usable, waiting, clone, begun, alone, before, is_let_in)


def restore_alone(service: Service, into: Path, *options: str) -> None:
    """Restore the snapshot `usable` by `repo restore`; called again, it only starts or stops the servers."""
    command = [*COMMAND, "repo", "restore", "--repository", str(service.data / "repository")]
    command += [
        "--kek-file",
        str(service.data / "kek"),
        "--snapshot",
        "usable",
        "--into",
        str(into),
        *options,
    ]
    answer = subprocess.run(
        command, env=service.environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.returncode == 0, answer.stderr


@contextmanager
def _held_up(service: Service, cluster: str) -> Iterator[None]:
    """A reader of the oldest of the cluster's packs waits meanwhile."""
    packs = [
        path for path in (service.data / "repository" / "c" / cluster / "packs").rglob("*") if path.is_file()
    ]
    pack = min(packs, key=lambda path: path.stat().st_mtime_ns)
    aside = service.data / "held-up"
    pack.rename(aside)
    os.mkfifo(pack)
    try:
        yield
    finally:
        aside.rename(pack)


def _present(service: Service, cluster: str, name: str) -> list[Path]:
    return [*(service.data / "clusters" / cluster).glob(f"*/{name}")]


def _states(service: Service, snapshot: str) -> list[str]:
    found = service.rows("SELECT state FROM sh_captures WHERE snapshot_id = ?", snapshot)
    return [state for (state,) in found]
