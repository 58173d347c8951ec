"""The names of the files that hold relations, by their paths in a data directory (src/common/relpath.c)."""

import re
from dataclasses import dataclass
from enum import StrEnum

RELATION = re.compile(r"(?P<relation>\d+)(?:_(?P<fork>fsm|vm|init))?(?:\.(?P<segment>\d+))?")
_DATABASE_DIRECTORY = re.compile(r"global|base/\d+|pg_tblspc/\d+/PG_[^/]+/\d+")
GLOBAL_TABLESPACE, DEFAULT_TABLESPACE = 1664, 1663  # src/include/catalog/pg_tablespace.dat


class Kind(StrEnum):
    MAIN = "main"
    FORK = "fork"  # fsm, vm, init: pages too, but not all their changes are in the WAL
    OTHER = "other"


@dataclass(frozen=True)
class RelationFile:
    """One segment of one fork of a relation. Its first block has the number segment x blocks per segment."""

    kind: Kind
    tablespace: int
    database: int
    relation: int
    segment: int


def relation_file(path: str) -> RelationFile | None:
    """Return the relation file at `path`, which is relative to the data directory. `None` for any other file."""
    directory, _, name = path.rpartition("/")
    match = RELATION.fullmatch(name)
    if match is None or _DATABASE_DIRECTORY.fullmatch(directory) is None:
        return None
    kind = Kind.FORK if match["fork"] else Kind.MAIN
    return RelationFile(kind, *owner(directory), int(match["relation"]), int(match["segment"] or 0))


def is_database_directory(path: str) -> bool:
    return _DATABASE_DIRECTORY.fullmatch(path) is not None


def owner(directory: str) -> tuple[int, int]:
    """Return the tablespace and database (oids) of a database directory, as in the WAL."""
    parts = directory.split("/")
    if parts[0] == "global":
        return GLOBAL_TABLESPACE, 0
    return (DEFAULT_TABLESPACE if parts[0] == "base" else int(parts[1])), int(parts[-1])
