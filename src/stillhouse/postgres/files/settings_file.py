"""Parser of PostgreSQL's configuration files, as far as a clone's first start needs it (utils/misc/guc-file.l)."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from stillhouse.errors import FileRefused
from stillhouse.postgres.files.tree import Tree

_NAME = r"[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*"
_LINE = re.compile(
    rf"\s*(?P<name>{_NAME}(?:\.{_NAME})*)(?:\s*=\s*|\s+|(?='))"
    r"(?:'(?P<quoted>(?:[^'\\\n]|\\.|'')*)'|(?P<bare>[\w$\x80-\U0010ffff.:/+-]+))\s*(?:#.*)?",
    re.ASCII,
)
_ESCAPED = re.compile(r"''|\\([0-7]{1,3}|.)")
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_DEEPEST = 10  # CONF_FILE_MAX_DEPTH in guc.h


def read_settings(tree: Tree, path: str) -> dict[str, str]:
    """Return the settings in a file and its included files, by their names in lower case. The last line of a name wins.

    A file that is missing, or that the tree's owner does not own, counts as empty. Files outside the tree are not read.
    """
    return dict(_read(tree, path, 0))


def parse_line(line: str) -> tuple[str, str] | None:
    """Return name, in lower case, and value of a setting or an include. `None` for any other line or a wrong one."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    value = found["bare"] if found["quoted"] is None else _ESCAPED.sub(_plain, found["quoted"])
    return found["name"].lower(), value


def as_lines(settings: Mapping[str, str]) -> list[str]:
    return [f"{name} = {quote(value)}" for name, value in settings.items()]


def quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n") + "'"


def _read(tree: Tree, path: str, depth: int) -> Iterator[tuple[str, str]]:
    try:
        text = tree.read(path).decode(errors="surrogateescape")
    except (FileNotFoundError, FileRefused):
        return
    for line in text.split("\n"):
        if (setting := parse_line(line)) is None:
            continue
        name, value = setting
        if not name.startswith("include"):
            yield setting
        elif depth < _DEEPEST:
            for included in _included(tree, name, PurePosixPath(path).parent, value):
                yield from _read(tree, included, depth + 1)


def _included(tree: Tree, how: str, here: PurePosixPath, value: str) -> list[str]:
    place = PurePosixPath(value)
    if (
        place.is_absolute()
        or ".." in place.parts
        or how not in ("include", "include_if_exists", "include_dir")
    ):
        return []
    if how != "include_dir":
        return [str(here / place)]
    return [str(here / place / name) for name in _configuration_files(tree, str(here / place))]


def _configuration_files(tree: Tree, directory: str) -> list[str]:
    """List the files in the order and by the rule of GetConfFilesInDir (utils/misc/conffiles.c)."""
    try:
        names = tree.names(directory)
    except (FileNotFoundError, FileRefused):
        return []
    return sorted(name for name in names if name.endswith(".conf") and not name.startswith("."))


def _plain(escaped: re.Match[str]) -> str:
    """Read a quoted value as GUC_scanstr (utils/misc/guc-file.l) does."""
    code = escaped[1]
    if code is None:
        return "'"
    if code[0] not in "01234567":
        return _CONTROLS.get(code, code)
    byte = int(code, 8) & 0xFF
    return chr(byte) if byte < 0x80 else chr(0xDC00 + byte)  # a byte, as `surrogateescape` has it
