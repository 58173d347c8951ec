"""The operating system's account that PostgreSQL servers run as; PostgreSQL refuses to run as root."""

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stillhouse.errors import InvalidInput

# A clean environment: PGOPTIONS and its like, or a person's language, must not reach the servers.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

# From the root downwards, so that the first to fail is the one to blame.
_FIRST_CLOSED = 'for d; do test -x "$d" || { printf %s "$d"; exit 1; }; done'


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def database_account(os_user: str) -> Account | None:
    """Whom to become for everything PostgreSQL does: `os_user`, made when missing; None when we are not root."""
    if os.geteuid() != 0:
        _own_name()
        return None
    entry = _entry(os_user) or _create(os_user)
    if entry.pw_uid == 0:
        raise InvalidInput(f"os_user {os_user} is root", hint="PostgreSQL needs an unprivileged account")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def login_names(account: Account | None) -> list[str]:
    """Who may log in as superuser through a node's private socket: root, the account, and ourselves."""
    return sorted({"root", _own_name(), *([account.name] if account else [])})


def run(
    account: Account | None, command: Sequence[str | Path], *, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a program as `account`, in a session of its own: a signal meant for us does not reach it."""
    return subprocess.run(
        command,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        # Ours may be closed to the account.
        cwd="/",
        env=_ENVIRONMENT,
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
) -> subprocess.Popen[bytes]:
    """Start a program as `run` does, and leave it running; `environment` is added to the clean one."""
    return subprocess.Popen(
        command,
        bufsize=0,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        cwd="/",
        env={**_ENVIRONMENT, **(environment or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        umask=0o077,
    )


def check_traversable(directory: Path, account: Account | None) -> None:
    """Raises InvalidInput naming the first directory on the way that the account may not pass through."""
    way = [*reversed(directory.resolve().parents), directory.resolve()]
    answer = run(account, ["/bin/sh", "-c", _FIRST_CLOSED, "sh", *way], timeout=30)
    if answer.returncode == 0:
        return
    who = account.name if account else _own_name()
    raise InvalidInput(
        f"the account {who}, which runs PostgreSQL, may not pass through {answer.stdout} to reach {directory}",
        hint=f"use a data directory elsewhere, such as /var/lib/stillhouse, or: chmod o+x {answer.stdout}",
    )


def give(path: Path | int, account: Account | None) -> None:
    """Make the account the owner of what we created for it; by a descriptor where somebody could swap it."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=isinstance(path, int))


def _create(os_user: str) -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    try:
        answer = run(None, [*command, "--shell", "/usr/sbin/nologin", os_user], timeout=60)
        reason = answer.stderr.strip()
    except FileNotFoundError:
        reason = "there is no useradd here"
    # Another process may have been first: what counts is that the account is there now.
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
    """Our own name; initdb and peer authentication both ask for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise InvalidInput(
            f"user id {os.geteuid()} has no passwd entry, which PostgreSQL needs",
            hint="add one, or run as a user that has one",
        ) from error
