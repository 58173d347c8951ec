"""Configuration files that a server may not read for us, written anew from what it says that it has read in them.

Debian keeps them outside the data directory, where pg_read_binary_file wants the right to read all of the server's
files. The server's views of them want less. Comments and the order of included files are lost.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stillhouse.postgres.files.settings_file import as_lines

_HEAD = "# Written by Stillhouse from {view}: the file itself lies outside the data directory.\n"
# Settings in the data directory, those of ALTER SYSTEM, are in files of their own.
_SETTINGS = """
    SELECT name, setting FROM pg_catalog.pg_file_settings
     WHERE error IS NULL AND name IS NOT NULL AND setting IS NOT NULL
       AND NOT pg_catalog.starts_with(sourcefile, pg_catalog.current_setting('data_directory') || '/')
     ORDER BY seqno
"""
_RULES = """
    SELECT type, database, user_name, address, netmask, auth_method, options FROM pg_catalog.pg_hba_file_rules
     WHERE error IS NULL ORDER BY line_number
"""
_MAPPINGS = """
    SELECT map_name, sys_name, pg_username FROM pg_catalog.pg_ident_file_mappings
     WHERE error IS NULL ORDER BY line_number
"""
_WORDS = {"all", "sameuser", "samerole", "samegroup", "replication"}
_SPECIAL = ("+", "/")  # a role's members, a regular expression


def settings(rows: Sequence[Sequence[Any]]) -> str:
    """Return the lines of a postgresql.conf. The last of a setting's values counts, as in the files."""
    return "".join(f"{line}\n" for line in as_lines({str(name): str(value) for name, value in rows}))


def rules(rows: Sequence[Sequence[Any]]) -> str:
    """Return the lines of a pg_hba.conf."""
    lines = []
    for kind, databases, users, address, netmask, method, options in rows:
        names = [",".join(map(_name, found)) for found in (databases, users)]
        rest = [part for part in (address, netmask) if part]
        lines.append(" ".join([kind, *names, *rest, method, *map(_option, options or ())]))
    return "".join(f"{line}\n" for line in lines)


def mappings(rows: Sequence[Sequence[Any]]) -> str:
    """Return the lines of a pg_ident.conf."""
    return "".join(" ".join(map(_name, row)) + "\n" for row in rows)


AS_READ: Mapping[str, tuple[str, str, Callable[[Sequence[Sequence[Any]]], str]]] = {
    "postgresql.conf": ("pg_file_settings", _SETTINGS, settings),
    "pg_hba.conf": ("pg_hba_file_rules", _RULES, rules),
    "pg_ident.conf": ("pg_ident_file_mappings", _MAPPINGS, mappings),
}
"""For each file: the server's view of it, the query, and the lines that it makes."""


def written(name: str, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return a file's bytes, from the rows of its query."""
    view, _, lines = AS_READ[name]
    return (_HEAD.format(view=view) + lines(rows)).encode(errors="surrogateescape")


def _name(value: str) -> str:
    """Write a name. A keyword of the file looks in the view like a thing of that name in quotes."""
    if value in _WORDS or (value.startswith(_SPECIAL) and '"' not in value and " " not in value):
        return value
    return '"' + value.replace('"', '""') + '"'


def _option(value: str) -> str:
    name, _, given = value.partition("=")
    return f'{name}="{given}"' if " " in given or "," in given else value
