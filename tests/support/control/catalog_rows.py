"""Synthetic rows put straight into an SQLite catalog, where a test or a benchmark needs many."""

import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

_SHOWN = "%Y-%m-%d %H:%M:%S.%f"


def many_snapshots(catalog: Path, project: str, count: int, kind: str = "MANUAL") -> str:
    """Add a cluster without nodes and so many AVAILABLE snapshots of it, a minute apart; the id of the newest."""
    cluster, now = str(uuid.uuid4()), datetime.now(UTC).replace(tzinfo=None)
    ids = [str(uuid.uuid4()) for _ in range(count)]
    with closing(sqlite3.connect(catalog, timeout=30)) as connection, connection:
        connection.execute(
            "INSERT INTO sh_clusters (id, project, name, engine, status, number_of_node, port, user_name, stopped,"
            " failed_code, failed_reason, facts, created, updated)"
            " VALUES (?, ?, ?, 'single', 'AVAILABLE', 1, 8000, 'dbadmin', 0, '', '', '{}', ?, ?)",
            (cluster, project, f"many-{cluster[:8]}", now.strftime(_SHOWN), now.strftime(_SHOWN)),
        )
        connection.executemany(
            "INSERT INTO sh_snapshots (id, project, cluster_id, cluster_name, name, description, status, type,"
            " started, updated, finished, progress, plain_bytes, stored_bytes, db_user, backup_key, reason,"
            " cancel_requested, attempt)"
            " VALUES (?, ?, ?, ?, ?, '', 'AVAILABLE', ?, ?, ?, ?, 100, ?, 1000, 'dbadmin', '20260101_000000', '',"
            " 0, 1)",
            (
                (
                    one,
                    project,
                    cluster,
                    f"many-{cluster[:8]}",
                    f"{kind.lower()}-{cluster[:8]}-{number}",
                    kind,
                    *[(now - timedelta(minutes=number)).strftime(_SHOWN)] * 3,
                    number * 8192,
                )
                for number, one in enumerate(ids)
            ),
        )
    return ids[0]
