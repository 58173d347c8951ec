"""The rows that PostgreSQL's own incremental backup brings back, and our snapshot of the same moments, side by side.

Run by `make bench-postgres-incremental`. The same server, twice: a backup of everything, then DELETE, VACUUM and COPY,
then an incremental one. PostgreSQL's two are joined by pg_combinebackup and started; ours is restored.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from measure import server, tell, write_result
from rich.console import Console
from rich.table import Table

from stillhouse.domain.cluster import Node
from stillhouse.postgres.host import server as servers
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from support.databases import incremental_bug
from support.servers.warehouses import rows
from support.snapshots.captures import HASTY, capture_cluster, restored_cluster

LAST_KEPT, FIRST_LOADED = incremental_bug.KEPT, incremental_bug.FIRST_LOADED
QUESTION = (
    f"SELECT count(*), count(*) FILTER (WHERE id <= {LAST_KEPT}),"
    f" count(*) FILTER (WHERE id > {LAST_KEPT} AND id < {FIRST_LOADED}),"
    f" count(*) FILTER (WHERE id >= {FIRST_LOADED}) FROM public.reborn"
)
FIELDS = ("rows", "kept", "deleted", "loaded")


def held(node: Node) -> dict[str, int]:
    """Rows in all; of those that were kept, that were deleted, that were loaded afterwards."""
    return dict(zip(FIELDS, rows(node, QUESTION)[0], strict=True))


def backed_up(binaries: Binaries, node: Node, target: Path, *options: str) -> None:
    where = (f"--host={node.socket}", f"--port={node.port}", f"--username={session.SUPERUSER}")
    done = binaries.run_at(
        node,
        "pg_basebackup",
        *where,
        "--no-password",
        "--no-sync",
        "--checkpoint=fast",
        f"--pgdata={target}",
        *options,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def started_from(binaries: Binaries, source: Node, data: Path) -> dict[str, int]:
    """What a server started on a directory holds. It listens on a private socket only."""
    home = data.parent
    node = replace(source, name="combined", directory=str(home), socket=f"{source.socket}x")
    (home / "tablespaces").mkdir(exist_ok=True)
    servers.start(binaries, node, {"listen_addresses": "", **HASTY})
    try:
        return held(node)
    finally:
        servers.stop(binaries, node, "immediate")
        shutil.rmtree(node.socket)


def run() -> dict[str, Any]:
    with server() as (site, cluster, vault):
        node, binaries = cluster.coordinator, site.binaries
        home = Path(node.directory, "..", "basebackups").resolve()
        home.mkdir()
        shutil.chown(home, *_owner(node))
        incremental_bug.fill(node)
        tell(node, "CHECKPOINT")
        backed_up(binaries, node, home / "full")
        base = capture_cluster(cluster, vault)
        incremental_bug.delete_truncate_and_load(node)
        should = held(node)
        backed_up(binaries, node, home / "second", f"--incremental={home / 'full' / 'backup_manifest'}")
        shot = capture_cluster(cluster, vault, base=base)
        combined = home / "combined" / "pgdata"
        combined.parent.mkdir()
        shutil.chown(combined.parent, *_owner(node))
        done = binaries.run(
            "pg_combinebackup", "--no-sync", home / "full", home / "second", "-o", combined, timeout=300
        )
        assert done.returncode == 0, done.stderr
        verified = binaries.run("pg_verifybackup", combined, timeout=300)
        with restored_cluster(site, cluster, shot, vault, settings=HASTY) as clone:
            ours = held(clone.cluster.coordinator)
        captured = shot.captured[node.name]
        assert captured.base, "ours is incremental too"
        return {
            "postgresql": binaries.version,
            "pg_verifybackup": (verified.stdout + verified.stderr).strip(),
            "should_be": should,
            "pg_combinebackup": started_from(binaries, node, combined),
            "stillhouse": ours,
            "pages_stored_by_stillhouse": captured.pages_stored,
        }


def _owner(node: Node) -> tuple[int, int]:
    status = Path(node.directory).stat()
    return status.st_uid, status.st_gid


def show(result: dict[str, Any], console: Console) -> None:
    table = Table(title=f"PostgreSQL {result['postgresql']}: DELETE, VACUUM, COPY between two backups")
    for heading in ("", *FIELDS):
        table.add_column(heading, justify="right" if heading else "left")
    for title, name in (
        ("there should be", "should_be"),
        ("pg_basebackup --incremental, pg_combinebackup", "pg_combinebackup"),
        ("Stillhouse", "stillhouse"),
    ):
        table.add_row(title, *(str(result[name][field]) for field in FIELDS))
    console.print(table)
    console.print(f"pg_verifybackup of the combined backup: {result['pg_verifybackup']}")


if __name__ == "__main__":
    found = run()
    show(found, Console(width=110))
    write_result("postgres-incremental", found)
