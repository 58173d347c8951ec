"""Accounts of the operating system that PostgreSQL servers run as, because PostgreSQL refuses to run as root."""

import os
import pwd
import secrets
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stillhouse.errors import InternalError, InvalidInput

# A clean environment: PGOPTIONS, similar variables and a person's language must not reach the servers.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

# Far from people's accounts, and from the ranges of systemd and containers (systemd's UIDS-GIDS.md).
DEFAULT_UIDS = range(1_900_000_000, 1_901_000_000)
_LEAST_UID = 1000
# The name of a cluster's account is this and the uid.
_CLUSTER_ACCOUNT = "stillhouse-"
_UIDS_TRIED = 10_000
_ENDING_SECONDS, _POLL_SECONDS = 30.0, 0.02

# From the root downwards, so that the first directory to fail is the cause.
_FIRST_CLOSED = 'for d; do test -x "$d" || { printf %s "$d"; exit 1; }; done'


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def database_account(os_user: str) -> Account | None:
    """Return the account that runs all of PostgreSQL: `os_user`, created if missing. `None` if we are not root."""
    if os.geteuid() != 0:
        _own_name()
        return None
    entry = _entry(os_user) or _create(os_user)
    if entry.pw_uid == 0:
        raise InvalidInput(f"os_user {os_user} is root", hint="PostgreSQL needs an unprivileged account")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def account_of(os_user: str) -> Account:
    """Return the account with that name. Raises InvalidInput if it is gone."""
    entry = _entry(os_user)
    if entry is None:
        raise InvalidInput(
            f"the account {os_user} of a cluster is gone",
            hint="make it again, with the uid that owns its files",
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def account_with(uid: int) -> Account:
    """Return the account with that uid. Raises InvalidInput if it is gone."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise InvalidInput(
            f"uid {uid}, which runs a server, has no account", hint="make one with that uid"
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def uid_range(text: str) -> range:
    """Parse the range `first-last` of STILLHOUSE_OS_UIDS. An empty text is an empty range. Raises InvalidInput."""
    first, _, last = text.partition("-")
    uids = range(int(first), int(last) + 1) if text else range(0)
    if text and (not uids or uids.start < _LEAST_UID):
        raise InvalidInput(f"{text} is no range of uids for accounts", hint=f"begin at {_LEAST_UID} or above")
    return uids


def fresh_account(_cluster_id: str, uids: range = DEFAULT_UIDS) -> str:
    """Make an account for one cluster if no catalog records the uids given so far. The uid is drawn at random, so it
    was most likely never used before. Return its name, or "" if we are not root or `uids` is empty.
    """
    return create_cluster_account(free_uid(uids, ())) if uids and os.geteuid() == 0 else ""


def create_cluster_account(uid: int) -> str:
    """Make the account that one cluster's servers run as, with a group of its own, and return its name.

    Does nothing if the account is there. Raises InvalidInput.
    """
    name = f"{_CLUSTER_ACCOUNT}{uid}"
    if _entry(name) is None:
        number = str(uid)
        run(None, ["groupadd", "--gid", number, name], timeout=60)
        _create(name, "--uid", number, "--gid", number, "--no-log-init")
    return name


def remove_cluster_account(name: str) -> None:
    """End the account's processes and remove it. An account that is not a cluster's is left alone."""
    entry = _entry(name)
    if not name.startswith(_CLUSTER_ACCOUNT) or entry is None:
        return
    end_processes(entry.pw_uid)
    answer = run(None, ["userdel", name], timeout=60)
    if _entry(name) is not None:
        raise InternalError(f"the account {name} cannot be removed: {answer.stderr.strip()}")
    # This fails harmlessly if userdel has removed the group of the same name.
    run(None, ["groupdel", name], timeout=60)


def end_processes(uid: int) -> None:
    """Kill all processes of `uid`, even programs that a server's user left running. Raises InternalError."""
    latest = time.monotonic() + _ENDING_SECONDS
    while running := list(_processes_of(uid)):
        if time.monotonic() > latest:
            raise InternalError(f"processes of uid {uid} do not end: {running}")
        for number in running:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def free_uid(uids: range, used: Iterable[int]) -> int:
    """Return a uid of the range that no account has and that is above all of `used`. If `used` is empty, the search
    starts at random.

    Raises InvalidInput if no uid is left.
    """
    first: int = max(used, default=secrets.choice(uids) - 1) + 1
    for uid in range(first, min(first + _UIDS_TRIED, uids.stop)):
        try:
            pwd.getpwuid(uid)
        except KeyError:
            return uid
    raise InvalidInput(
        f"no number is left for a cluster's account in {uids.start}-{uids.stop - 1}",
        hint="give another range by STILLHOUSE_OS_UIDS",
    )


def _processes_of(uid: int) -> Iterator[int]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                if entry.stat().st_uid == uid and not _is_zombie(entry.name):
                    yield int(entry.name)


def _is_zombie(number: str) -> bool:
    """Whether the process has ended, but its parent has not waited for it (state Z in /proc/<pid>/stat, proc(5))."""
    return Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def peer_name() -> str:
    """Return the account that this service runs as. A server in quarantine lets it in through its socket."""
    return _own_name()


def run(
    account: Account | None,
    command: Sequence[str | Path],
    *,
    timeout: float,
    directory: str = "/",
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> subprocess.CompletedProcess[str]:
    """Run a program as `account`, in a session of its own, so that signals meant for us do not reach it.

    `environment` is added to the clean one. `descriptors` stay open in the program.
    """
    return subprocess.run(
        command,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        cwd=directory,  # our own directory may be closed to the account
        env={**_ENVIRONMENT, **(environment or {})},
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        start_new_session=True,
        umask=0o077,
        timeout=timeout,
        check=False,
    )


def start(
    account: Account | None,
    command: Sequence[str | Path],
    *,
    stderr: IO[bytes],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program as `run` does, and leave it running."""
    return subprocess.Popen(
        command,
        bufsize=0,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        cwd="/",
        env={**_ENVIRONMENT, **(environment or {})},
        pass_fds=descriptors,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        umask=0o077,
    )


def check_traversable(directory: Path, account: Account | None) -> None:
    """Raise InvalidInput with the first directory on the way that the account may not pass through, if any."""
    way = [*reversed(directory.resolve().parents), directory.resolve()]
    answer = run(account, ["/bin/sh", "-c", _FIRST_CLOSED, "sh", *way], timeout=30)
    if answer.returncode == 0:
        return
    who = account.name if account else _own_name()
    raise InvalidInput(
        f"the account {who}, which runs PostgreSQL, may not pass through {answer.stdout} to reach {directory}",
        hint=f"use a data directory elsewhere, such as /var/lib/stillhouse, or: chmod o+x {answer.stdout}",
    )


def make_passable(directory: Path) -> None:
    """Make the directory and its missing parents, so that accounts may pass through them but not list them."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o711)


def give(path: Path | int, account: Account | None) -> None:
    """Make the account the owner of a file that we created for it. Pass a descriptor if the file could be replaced."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=isinstance(path, int))


@contextmanager
def private_file(account: Account | None, content: str) -> Iterator[tuple[int, str]]:
    """Make a file in memory that only `account` may read. Yield its descriptor, and its path in a program that gets the
    descriptor. This is how passwords reach programs: by no disk, no command line and no environment.
    """
    descriptor = os.memfd_create("stillhouse", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        give(descriptor, account)
        os.write(descriptor, content.encode())
        yield descriptor, f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _create(os_user: str, *group: str) -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"]
    command += group or ["--user-group"]
    try:
        answer = run(None, [*command, "--shell", "/usr/sbin/nologin", os_user], timeout=60)
        reason = answer.stderr.strip()
    except FileNotFoundError:
        reason = "there is no useradd here"
    # Another process may have created the account first, so look whether it is there now.
    entry = _entry(os_user)
    if entry is None:
        raise InvalidInput(
            f"cannot create the account {os_user} to run PostgreSQL as: {reason}",
            hint="create it, or name an existing unprivileged account by STILLHOUSE_OS_USER",
        )
    return entry


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _own_name() -> str:
    """Return the name of our own account. Both initdb and peer authentication need it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise InvalidInput(
            f"user id {os.geteuid()} has no passwd entry, which PostgreSQL needs",
            hint="add one, or run as a user that has one",
        ) from error
