"""Files that a tenant, superuser of his server, may plant in its data directory for a capture to read."""

import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from stillhouse.domain.ids import new_hex

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has secrets from an account")
LINK, ELSEWHERE = "a symbolic link", "a link that leads to no directory"
ROOTS = "another account's (uid 0)"
DEEP = 90  # directories within one another


@dataclass(frozen=True)
class Secret:
    """A directory that only root may enter, with a file of its own and what looks like a tablespace in it."""

    place: Path
    content: bytes

    @property
    def file(self) -> Path:
        return self.place / "secret"


def make_secret(parent: Path, tablespace_directory: str) -> Secret:
    secret = Secret(parent / "secrets", b"secret " + new_hex().encode())
    (secret.place / tablespace_directory / "5").mkdir(parents=True)
    for path in (secret.file, secret.place / tablespace_directory / "5" / "16384"):
        path.write_bytes(secret.content)
        path.chmod(0o600)
    secret.place.chmod(0o700)
    return secret


def plant(pgdata: Path, secret: Secret, database: str, tablespace: str = "") -> dict[str, str]:
    """Plant it all, also in `database` and `tablespace`, directories of relations; what a capture says of each path."""
    links = {
        "planted": secret.file,
        "planted_directory": secret.place,
        "chain": Path("planted"),
        "loop": Path("loop"),
        "round": Path(),
        "upwards": Path(".."),
        f"{database}/99999": secret.file,
        f"{database}/99999_fsm": secret.file,
        "pg_xact/PLANTED": secret.file,
        "global/99998": secret.file,
        "log": secret.place,
        "pg_tblspc/99999": secret.place,
        "pg_tblspc/99998": secret.file,
        "pg_tblspc/99997": Path("nowhere"),
        "pg_tblspc/planted": secret.place,
        **({f"{tablespace}/99997": secret.file} if tablespace else {}),
    }
    told = {}
    for path, target in links.items():
        (pgdata / path).symlink_to(target)
        told[path] = LINK
    told |= {"pg_tblspc/99998": ELSEWHERE, "pg_tblspc/99997": ELSEWHERE}
    for path in ("pipe", f"{database}/99996"):
        os.mkfifo(pgdata / path)
        told[path] = "a named pipe"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(pgdata / "door"))
        told["door"] = "a socket"
    os.link(secret.file, pgdata / "hard")
    os.link(secret.file, pgdata / database / "99995")
    (pgdata / "roots").mkdir()
    (pgdata / "roots" / "file").write_bytes(secret.content)
    told |= dict.fromkeys(("hard", f"{database}/99995", "roots", "log", "pg_tblspc/99999"), ROOTS)
    (pgdata / "/".join(["deep"] * DEEP)).mkdir(parents=True)
    _give(pgdata / "deep", pgdata)
    return {**told, "/".join(["deep"] * 65): "nested too deeply"}


def _give(top: Path, like: Path) -> None:
    owner = like.stat()
    for directory, _, _ in os.walk(top):
        os.chown(directory, owner.st_uid, owner.st_gid)


def holds(tree: Path, content: bytes) -> list[Path]:
    """The files below a directory that have the content in them."""
    return [path for path in tree.rglob("*") if path.is_file() and content in path.read_bytes()]


def uproot(pgdata: Path, told: Mapping[str, str]) -> None:
    """Remove what was planted."""
    for path in told:
        planted = pgdata / path
        if path.startswith("deep/"):
            shutil.rmtree(pgdata / "deep")
        elif planted.is_dir() and not planted.is_symlink():
            shutil.rmtree(planted)
        else:
            planted.unlink()
