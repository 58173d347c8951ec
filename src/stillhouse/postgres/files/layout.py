"""The layout of a data directory: the files that a capture leaves out, and the directories that it empties.

The exclusions come from src/backend/backup/basebackup.c. `relation_files` reads the names of files of relations.
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

from stillhouse.domain.relation_files import RELATION, is_database_directory, is_plain_number

_TEMPORARY = re.compile(r"t\d+_\d+(_(fsm|vm|init))?(\.\d+)?")

# Kept as empty directories, because their contents belong to the running server only.
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
# A relation's number has 32 bits (Oid, src/include/postgres_ext.h). Its 2^32 blocks make fewer than 2^30 segments.
_FORKS = ("", "fsm", "init", "vm")
_SEGMENT_BITS, _RELATION_SHIFT = 30, 32


def is_skipped(path: str) -> bool:
    """Whether a file must not be in a snapshot, judged by its name only."""
    directory, _, name = path.rpartition("/")
    if name.startswith(("pgsql_tmp", "pg_internal.init", "postmaster.")):
        return True
    if not directory and name in _SKIPPED_AT_TOP:
        return True
    return is_database_directory(directory) and _TEMPORARY.fullmatch(name) is not None


def captured(directory: str, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Return the name and the path of each entry of a directory that a capture takes, ascending.

    `pg_control` is not among them: a capture takes it last. All `names` are consumed before this returns.
    """
    place = f"{directory}/" if directory else ""

    def is_wanted(name: str) -> bool:
        return not is_skipped(place + name) and place + name != CONTROL

    if is_database_directory(directory):
        ordered = without_unlogged(names, is_wanted)
    else:
        ordered = iter(sorted(filter(is_wanted, names)))
    return ((name, place + name) for name in ordered)


def without_unlogged(
    names: Iterable[str], is_wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[str]:
    """Return the files of one database directory, segments ascending. Unlogged relations keep only the init fork.

    Of the files that are no relation's, those are returned that are wanted.
    An unlogged relation is recognised by its init fork, from which recovery builds the rest. All `names` are consumed
    before this returns. Each name is packed into eight bytes, since there may be a million, and is unpacked unchanged.
    """
    others: list[str] = []
    packed = array("Q")
    for name in names:
        number = _packed(name)
        if number is None:
            others.append(name)
        else:
            packed.append(number)
    numbers = np.frombuffer(packed, np.uint64)
    numbers.sort()
    is_init = (numbers >> _SEGMENT_BITS & 3) == _FORKS.index("init")
    unlogged = numbers[is_init] >> _RELATION_SHIFT
    kept = numbers[is_init | ~np.isin(numbers >> _RELATION_SHIFT, unlogged)]
    return chain(sorted(filter(is_wanted, others)), map(_unpacked, map(int, kept)))


def _packed(name: str) -> int | None:
    """Pack the name of a relation's file into a number, or return `None` for any other name.

    Numbers sort by relation, fork and segment.
    """
    if is_plain_number(name):
        relation = int(name)
        return None if relation >> 32 else relation << _RELATION_SHIFT
    match = RELATION.fullmatch(name)
    if match is None:
        return None
    relation, fork, segment = int(match["relation"]), match["fork"] or "", int(match["segment"] or 0)
    if relation >> 32 or segment >> _SEGMENT_BITS:
        return None
    number = relation << _RELATION_SHIFT | _FORKS.index(fork) << _SEGMENT_BITS | segment
    return number if _unpacked(number) == name else None  # for example 007, which PostgreSQL does not write


def _unpacked(number: int) -> str:
    relation, fork = number >> _RELATION_SHIFT, _FORKS[number >> _SEGMENT_BITS & 3]
    segment = number & (1 << _SEGMENT_BITS) - 1
    return f"{relation}{'_' if fork else ''}{fork}{f'.{segment}' if segment else ''}"
