"""Corruption: tells errors of a server that report bad data from errors that only say that data could not be read."""

import psycopg

# utils/errcodes.txt: data_corrupted, index_corrupted.
_BAD_DATA = frozenset({"XX001", "XX002"})
# undefined_file: a missing library raises it as well, so it counts only from these source files. storage/smgr/md.c
# opens files of relations, access/transam/slru.c files of transaction states.
_NO_FILE = "58P01"
_LOOKS_FOR_DATA = ("md.c", "slru.c")
# A user's function may raise any error (pl/plpgsql/src/pl_exec.c, exec_stmt_raise).
_RAISED_BY_USERS = "pl_exec.c"


def tells_of_bad_data(error: psycopg.Error) -> bool:
    source = (error.diag.source_file or "").rpartition("/")[2]
    if source == _RAISED_BY_USERS:
        return False
    return error.sqlstate in _BAD_DATA or (error.sqlstate == _NO_FILE and source in _LOOKS_FOR_DATA)


def first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
