"""The names of the files that hold relations, by their paths in a data directory (src/common/relpath.c)."""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

RELATION = re.compile(r"(?P<relation>\d+)(?:_(?P<fork>fsm|vm|init))?(?:\.(?P<segment>\d+))?")
_DATABASE_DIRECTORY = re.compile(r"global|base/\d+|pg_tblspc/\d+/PG_[^/]+/\d+")
GLOBAL_TABLESPACE, DEFAULT_TABLESPACE = 1664, 1663  # src/include/catalog/pg_tablespace.dat


class Kind(StrEnum):
    MAIN = "main"
    FORK = "fork"  # fsm, vm, init: pages too, but not all their changes are in the WAL
    OTHER = "other"


class RelationFile(NamedTuple):
    """One segment of one fork of a relation. Its first block has the number segment x blocks per segment."""

    kind: Kind
    tablespace: int
    database: int
    relation: int
    segment: int


def relation_file(path: str) -> RelationFile | None:
    """Return the relation file at `path`, which is relative to the data directory. `None` for any other file."""
    directory, _, name = path.rpartition("/")
    if not is_database_directory(directory):
        return None
    if is_plain_number(name):  # as most are
        return RelationFile(Kind.MAIN, *owner(directory), int(name), 0)
    match = RELATION.fullmatch(name)
    if match is None:
        return None
    kind = Kind.FORK if match["fork"] else Kind.MAIN
    return RelationFile(kind, *owner(directory), int(match["relation"]), int(match["segment"] or 0))


def is_plain_number(name: str) -> bool:
    """Whether it is a number as the server writes it: the name of a main fork's first segment."""
    return name.isdecimal() and name.isascii() and name[0] != "0"


@lru_cache(256)
def is_database_directory(path: str) -> bool:
    return _DATABASE_DIRECTORY.fullmatch(path) is not None


@lru_cache(256)
def owner(directory: str) -> tuple[int, int]:
    """Return the tablespace and database (oids) of a database directory, as in the WAL."""
    parts = directory.split("/")
    if parts[0] == "global":
        return GLOBAL_TABLESPACE, 0
    return (DEFAULT_TABLESPACE if parts[0] == "base" else int(parts[1])), int(parts[-1])
