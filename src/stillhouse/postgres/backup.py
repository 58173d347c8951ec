"""A backup session on one server: slot, start, stop, and the facts a restore needs to know of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed
from stillhouse.postgres import session
from stillhouse.postgres.session import Connection
from stillhouse.postgres.wal import parse_lsn

# Recovery refuses to run with less of these than the WAL was written with (src/backend/access/transam/xlog.c).
CAPACITY_SETTINGS = (
    "max_connections",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_worker_processes",
    "max_wal_senders",
)

_CONFIG_FILES = {
    "config_file": "postgresql.conf",
    "hba_file": "pg_hba.conf",
    "ident_file": "pg_ident.conf",
}


@dataclass(frozen=True)
class Facts:
    """What a server is, read once at the start of its capture."""

    system_identifier: int
    timeline: int
    version_num: int
    control_version: int
    catalog_version: int
    block_size: int
    segment_blocks: int
    wal_segment_size: int
    checksum_version: int
    wal_log_hints: bool
    postmaster_started: str
    settings: dict[str, str]
    extensions: list[list[str]]
    collations: list[list[str]]
    config_files: dict[str, Path]
    """Those outside the data directory, by the name that such a file has within one."""
    log_directory: str = "log"

    @property
    def tablespace_directory(self) -> str:
        """All that belongs to this server in a tablespace's place (src/include/common/relpath.h)."""
        return f"PG_{self.version_num // 10000}_{self.catalog_version}"


@dataclass(frozen=True)
class Places:
    """Which tablespaces there are, and in which each database (oid) lies."""

    databases: dict[int, int]
    tablespaces: frozenset[int]

    def moved_since(self, earlier: "Places") -> str:
        """What moved files under a copy made between the two readings, in words; empty when nothing did."""
        if new := self.tablespaces - earlier.tablespaces:
            return f"tablespace {min(new)} was created"
        for oid, tablespace in self.databases.items():
            if earlier.databases.get(oid, tablespace) != tablespace:
                return f"database {oid} was moved to tablespace {tablespace}"
        return ""


@dataclass(frozen=True)
class Stopped:
    """What pg_backup_stop returned: byte for byte what recovery wants to find."""

    stop_lsn: int
    backup_label: str
    tablespace_map: str


class BackupSession:
    """One session from start to stop. When it breaks, the server ends the backup by itself and the attempt is dead."""

    def __init__(self, node: Node, label: str) -> None:
        """Raises NodeUnreachable, or CaptureFailed when the server is a standby."""
        self._label = label
        self._connection = session.connect(
            node, "postgres", autocommit=True, application_name=f"stillhouse {label}"
        )
        (standby,) = self._row("SELECT pg_catalog.pg_is_in_recovery()")
        if standby:
            self.close()
            raise CaptureFailed(f"node {node.name} is a standby", hint="capture its primary")

    def start(self, *, fast: bool = True) -> int:
        """Enter backup mode by a checkpoint, at once or spread as the server spreads its own; the start LSN."""
        return parse_lsn(self._row("SELECT pg_catalog.pg_backup_start(%s, %s)::text", self._label, fast)[0])

    def stop(self) -> Stopped:
        """Leave backup mode. Only if this returns, in the session that started, does the base count."""
        lsn, label, tablespaces = self._row(
            "SELECT lsn::text, labelfile, spcmapfile FROM pg_catalog.pg_backup_stop(wait_for_archive => false)"
        )
        return Stopped(parse_lsn(lsn), label, tablespaces or "")

    def places(self) -> Places:
        """Read before the start and after the cut."""
        databases = self._connection.execute(
            "SELECT oid, dattablespace FROM pg_catalog.pg_database"
        ).fetchall()
        tablespaces = self._connection.execute("SELECT oid FROM pg_catalog.pg_tablespace").fetchall()
        return Places(dict(databases), frozenset(oid for (oid,) in tablespaces))

    def facts(self) -> Facts:
        return facts(self._connection)

    def close(self) -> None:
        """End the session; a server that still is in backup mode for it leaves that mode."""
        self._connection.close()

    def _row(self, query: str, *arguments: object) -> tuple[Any, ...]:
        row = self._connection.execute(query, arguments).fetchone()
        assert row is not None, "these queries answer with one row"
        return row


def facts(connection: Connection) -> Facts:
    row = connection.execute(
        "SELECT s.system_identifier, c.timeline_id, current_setting('server_version_num')::int, s.pg_control_version,"
        " s.catalog_version_no, i.database_block_size, i.blocks_per_segment, i.bytes_per_wal_segment,"
        " i.data_page_checksum_version, current_setting('wal_log_hints')::boolean,"
        " extract(epoch FROM pg_postmaster_start_time())::text"
        " FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i"
    ).fetchone()
    assert row is not None, "control data always has one row"
    settings: dict[str, str] = dict(
        connection.execute(
            "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)",
            (list(CAPACITY_SETTINGS),),
        ).fetchall()
    )
    directory = connection.execute(
        "SELECT current_setting('data_directory'), current_setting('log_directory')"
    ).fetchone()
    files = connection.execute(
        "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)", (list(_CONFIG_FILES),)
    ).fetchall()
    assert directory is not None
    outside = {
        _CONFIG_FILES[name]: Path(path) for name, path in files if not Path(path).is_relative_to(directory[0])
    }
    extensions = connection.execute(
        "SELECT current_database(), extname, extversion FROM pg_catalog.pg_extension ORDER BY 2"
    ).fetchall()
    collations = connection.execute(
        "SELECT datname, datlocprovider::text, datcollate, coalesce(datcollversion, '')"
        " FROM pg_catalog.pg_database ORDER BY 1"
    ).fetchall()
    identifier, timeline, version, control, catalog, block, blocks, wal_segment, checksums, hints, started = (
        row
    )
    return Facts(
        system_identifier=identifier,
        timeline=timeline,
        version_num=version,
        control_version=control,
        catalog_version=catalog,
        block_size=block,
        segment_blocks=blocks,
        wal_segment_size=wal_segment,
        checksum_version=checksums,
        wal_log_hints=hints,
        postmaster_started=started,
        settings=settings,
        extensions=[list(row) for row in extensions],
        collations=[list(row) for row in collations],
        config_files=outside,
        log_directory=directory[1],
    )
