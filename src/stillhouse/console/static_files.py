"""The files that pages refer to: style, scripts and the icon, as they lie in the package."""

import hashlib
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_KINDS = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


def content(name: str) -> tuple[bytes, bytes] | None:
    """Return a file's kind and bytes; `None` if there is no file of this name."""
    return _files().get(name)


@cache
def address(name: str) -> str:
    """Return a file's path, which changes with its content, so that browsers may keep it."""
    found = content(name)
    assert found is not None, name
    return f"/console/static/{name}?{hashlib.sha256(found[1]).hexdigest()[:12]}"


@cache
def _files() -> dict[str, tuple[bytes, bytes]]:
    return {
        path.name: (_KINDS[path.suffix], path.read_bytes())
        for path in _FOLDER.iterdir()
        if path.suffix in _KINDS
    }
