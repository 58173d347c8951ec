"""A data directory's layout: what each file is, and what a capture takes, leaves out, or takes last.

The exclusions are those of src/backend/backup/basebackup.c; file names those of src/common/relpath.c.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

RELATION = re.compile(r"(?P<relation>\d+)(?:_(?P<fork>fsm|vm|init))?(?:\.(?P<segment>\d+))?")
_TEMPORARY = re.compile(r"t\d+_\d+(_(fsm|vm|init))?(\.\d+)?")
_DATABASE_DIRECTORY = re.compile(r"global|base/\d+|pg_tblspc/\d+/PG_[^/]+/\d+")

# Kept as empty directories: contents belong to the running server alone.
EMPTIED = frozenset(
    {
        "pg_wal",
        "pg_replslot",
        "pg_dynshmem",
        "pg_notify",
        "pg_serial",
        "pg_snapshots",
        "pg_stat_tmp",
        "pg_subtrans",
    }
)
_SKIPPED_AT_TOP = frozenset(
    {"backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "backup_manifest"}
    | {"current_logfiles", "postgresql.auto.conf.tmp", "recovery.signal", "standby.signal"}
)
CONTROL = "global/pg_control"
VERSION = "PG_VERSION"
GLOBAL_TABLESPACE, DEFAULT_TABLESPACE = 1664, 1663  # src/include/catalog/pg_tablespace.dat


class Kind(StrEnum):
    MAIN = "main"
    FORK = "fork"  # fsm, vm, init: pages too, but not all their changes are in the WAL
    OTHER = "other"


@dataclass(frozen=True)
class RelationFile:
    """One segment of one fork of a relation; `block` numbers start at segment x blocks per segment."""

    kind: Kind
    tablespace: int
    database: int
    relation: int
    segment: int


def relation_file(path: str) -> RelationFile | None:
    """What `path` (relative to the data directory) is, when it holds pages of a relation; else None."""
    directory, _, name = path.rpartition("/")
    match = RELATION.fullmatch(name)
    if match is None or _DATABASE_DIRECTORY.fullmatch(directory) is None:
        return None
    kind = Kind.FORK if match["fork"] else Kind.MAIN
    return RelationFile(kind, *owner(directory), int(match["relation"]), int(match["segment"] or 0))


def is_database_directory(path: str) -> bool:
    return _DATABASE_DIRECTORY.fullmatch(path) is not None


def owner(directory: str) -> tuple[int, int]:
    """Tablespace and database (oids) of a database directory, as WAL names them."""
    parts = directory.split("/")
    if parts[0] == "global":
        return GLOBAL_TABLESPACE, 0
    return (DEFAULT_TABLESPACE if parts[0] == "base" else int(parts[1])), int(parts[-1])


def is_skipped(path: str) -> bool:
    """True for files that must not be in a snapshot, judged by name alone."""
    directory, _, name = path.rpartition("/")
    if name.startswith(("pgsql_tmp", "pg_internal.init", "postmaster.")):
        return True
    if not directory and name in _SKIPPED_AT_TOP:
        return True
    return is_database_directory(directory) and _TEMPORARY.fullmatch(name) is not None


def without_unlogged(names: Iterable[str]) -> list[str]:
    """The files of one database directory, less all but the init fork of unlogged relations, segments ascending.

    An unlogged relation is known by its init fork; recovery builds the rest from it.
    """
    names = list(names)
    unlogged = {
        name.partition("_")[0] for name in names if (m := RELATION.fullmatch(name)) and m["fork"] == "init"
    }

    def kept(name: str) -> bool:
        match = RELATION.fullmatch(name)
        return match is None or match["fork"] == "init" or match["relation"] not in unlogged

    return sorted(filter(kept, names), key=_segment_order)


def _segment_order(name: str) -> tuple[int, str, int]:
    match = RELATION.fullmatch(name)
    if match is None:
        return (-1, name, 0)
    return (int(match["relation"]), match["fork"] or "", int(match["segment"] or 0))
