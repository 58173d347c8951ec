"""The life cycle of one server: initialise, start, find and stop it. A server goes on running without the service."""

import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from stillhouse.atomic_file import sync_directory
from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Node
from stillhouse.errors import FileRefused, InternalError, InvalidInput, NodeUnreachable, ProvisionFailed
from stillhouse.postgres.files.tree import Tree, remove_tree
from stillhouse.postgres.host.account import Account, account_with, give, peer_name, private_file
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.host.outside import Outside, faces_outside, listeners
from stillhouse.postgres.sessions import session

StopMode = Literal["smart", "fast", "immediate"]

START_SECONDS = 60.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05

_LOCK, _LOG = "pgdata/postmaster.pid", "server.log"
_LOCK_BYTES, _LOG_BYTES, _NAME_BYTES = 4096, 1 << 20, 63  # the most that we read of these files
_LONGEST_NUMBER = 10  # digits of a process id

_LOGIN_REFUSED = "password authentication failed"  # libpq tells no SQLSTATE of a login; auth.c, auth_failed

_LONGEST_SOCKET_PATH = 107  # sun_path of sockaddr_un(7), less its final NUL
# pg_ctl hands paths to a shell between double quotes; a list of socket directories is split at commas.
_UNSAFE_IN_PATH = re.compile(r"[\"'`$\\,\n]")

# The address is given at each start: a data directory that is restored as another node must not carry the first one's.
_SETTINGS = {
    "max_connections": "100",
    "max_prepared_transactions": "64",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
_SETTINGS_SINCE_17 = {"summarize_wal": "on"}

# A password is needed even on the private socket. Only root and this server's account can reach the socket, but file
# modes alone should not be all that keeps a tenant from being superuser.
_ACCESS_RULES = f"""\
# Written by Stillhouse at each start of the server.
local all         {session.SUPERUSER},{session.READER} scram-sha-256
local replication {session.SUPERUSER} scram-sha-256
host  all         {session.SUPERUSER},{session.READER} all reject
host  replication all all reject
host  all         all 127.0.0.0/8 scram-sha-256
"""
# For a server that does not know our passwords yet. A clone, for example, has the passwords of its source.
_LOCKED_RULES = "# Written by Stillhouse: this server is shut off, but for the service itself.\n"
# Beside a restored data directory: the name of the role that initdb made at the source, if it is not ours.
FIRST_ROLE = "first-role"


def check_paths(node: Node) -> None:
    """Raise InvalidInput if PostgreSQL could not run with the node's paths."""
    for path in (node.directory, node.socket):
        if found := _UNSAFE_IN_PATH.search(path):
            raise InvalidInput(f"the path {path} holds {found[0]!r}", hint="choose another data directory")
    socket = f"{node.socket}/.s.PGSQL.{node.port}"
    if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
        raise InvalidInput(
            f"the path of a node's socket, {socket}, is longer than {_LONGEST_SOCKET_PATH} bytes",
            hint="choose a data directory with a shorter path",
        )


def initialise(binaries: Binaries, node: Node, settings: Mapping[str, str] | None = None) -> None:
    """Make the node's directory and an empty database system in it, once, with `settings` of its own.

    `pgdata` appears whole or not at all, so the call can be repeated after a crash.
    """
    binaries = binaries.of(node)
    check_paths(node)
    data = _data_directory(node)
    if data.exists():
        return
    for directory in (Path(node.directory), Path(node.directory, "tablespaces")):
        _private_directory(directory, binaries.account)
    # A fresh name, because the initdb of a killed service goes on for a second.
    fresh = data.with_name(f"pgdata.{secrets.token_hex(4)}.new")
    with private_file(binaries.account, f"{node.password(session.SUPERUSER)}\n") as (descriptor, password):
        answer = binaries.run(
            "initdb",
            # Relative, because everyone may read command lines, and the whole path contains the cluster's id.
            f"--pgdata={fresh.name}",
            f"--username={session.SUPERUSER}",
            "--auth=scram-sha-256",
            f"--pwfile={password}",
            "--data-checksums",
            "--encoding=UTF8",
            # This locale sorts alike on every host, so a clone's indexes are right wherever it is restored.
            "--locale=C",
            timeout=300,
            directory=node.directory,
            descriptors=[descriptor],
        )
    if answer.returncode != 0:
        raise ProvisionFailed(f"initdb of node {node.name} failed: {_tail(answer.stderr or answer.stdout)}")
    every = {**_SETTINGS, **(_SETTINGS_SINCE_17 if binaries.major >= 17 else {}), **(settings or {})}
    ours = "".join(f"{name} = '{value}'\n" for name, value in every.items())
    tree, file = Tree(data.parent), f"{fresh.name}/postgresql.conf"
    tree.replace(file, tree.read(file) + f"\n# Stillhouse's own:\n{ours}".encode())
    fresh.rename(data)
    sync_directory(data.parent)
    for abandoned in data.parent.glob("pgdata.*.new"):
        with suppress(InternalError):  # its initdb is still running
            remove_tree(abandoned)


def start(
    binaries: Binaries,
    node: Node,
    settings: Mapping[str, str] | None = None,
    *,
    locked: bool = False,
    role: str = session.SUPERUSER,
    timeout_seconds: float = START_SECONDS,
) -> None:
    """Start the server and wait until it answers `role`. A server that runs already is left as it is.

    `settings` override every file and the node's address: with {"listen_addresses": ""} the server listens on its
    socket only. A `locked` server lets in only the account that this service runs as, by the socket, until `reload`
    opens it. Raises NodeUnreachable.
    """
    binaries = binaries.of(node)
    check_paths(node)
    logged = _log_size(node)
    # In this order, because a lock file that appears after the first look belongs to a starting server.
    has_lock_file = os.path.lexists(_data_directory(node) / "postmaster.pid")
    if process_id(node) is None:
        try:
            if has_lock_file:
                _clear_stale_locks(node)
            _private_directory(Path(node.socket), binaries.account)
            outside = _outside(binaries, node)
            _write_access_rules(node, outside, locked=locked)
            if outside is not None:
                outside.renew_certificate(_tree(node))
        except OSError as error:  # for example a directory in place of a file: the fault of one node
            raise NodeUnreachable(f"node {node.name} does not start: {error}") from error
        _launch(binaries, node, settings or {}, timeout_seconds, logged)
    _await_answer(node, role, timeout_seconds, logged)


def first_role(node: Node) -> str:
    """Return the superuser that the server had from the beginning: ours, but for a clone of somebody's server."""
    try:
        return _tree(node).read(FIRST_ROLE, _NAME_BYTES).decode(errors="surrogateescape")
    except FileNotFoundError:
        return session.SUPERUSER


def stop(
    binaries: Binaries, node: Node, mode: StopMode = "fast", *, timeout_seconds: float = STOP_SECONDS
) -> None:
    """Stop the server, if it runs. Raises NodeUnreachable if it does not end in time."""
    process = process_id(node)
    if process is None:
        return
    as_server = _as_process(binaries, node, process)
    answer = _control(as_server, node, "stop", f"--mode={mode}", timeout_seconds=timeout_seconds)
    if answer.returncode != 0 and process_id(node) is not None:
        raise NodeUnreachable(f"node {node.name} does not stop: {_tail(answer.stderr)}")


def restart(binaries: Binaries, node: Node, settings: Mapping[str, str] | None = None) -> None:
    stop(binaries, node)
    start(binaries, node, settings)


def reload(binaries: Binaries, node: Node) -> None:
    """Make the server read its files again, and let in every role with its password."""
    _write_access_rules(node, _outside(binaries, node))
    answer = _control(binaries.of(node), node, "reload", timeout_seconds=STOP_SECONDS)
    if answer.returncode != 0:
        raise NodeUnreachable(f"node {node.name} cannot reload: {_tail(answer.stderr)}")


def renew_certificate(binaries: Binaries, node: Node) -> bool:
    """Give a server at work the certificate for clients on other hosts as it is now. Returns whether it changed."""
    outside = _outside(binaries, node)
    if outside is None or outside.address not in listens_on(node):
        return False
    if not outside.renew_certificate(_tree(node)):
        return False
    reload(binaries, node)
    return True


def listens_on(node: Node) -> list[str]:
    """Return the addresses that the server listens on."""
    with suppress(FileNotFoundError):
        if (process := process_id(node)) is not None:
            return listeners(node.port, Path("/proc", str(process)).stat().st_uid)
    return []


def is_running(node: Node) -> bool:
    """Whether the server runs and answers."""
    return process_id(node) is not None and _answers(node)


def process_id(node: Node) -> int | None:
    """Return the process id of the postmaster that runs the node's data directory, or `None`.

    The postmaster is recognised by the directory of its socket, which is on its command line. The number in the lock
    file is not enough: after a reboot of the host or a restart of the container another process may have it. To read
    its working directory would need a privilege that root lacks in containers. A lock file that is not the account's
    is ignored.
    """
    try:
        lines = _tree(node).read(_LOCK, _LOCK_BYTES).splitlines()
        number = int(lines[0][:_LONGEST_NUMBER])
        arguments = Path("/proc", str(number), "cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, FileRefused, IndexError, ValueError):
        return None
    return number if os.fsencode(f"unix_socket_directories={node.socket}") in arguments else None


def _outside(binaries: Binaries, node: Node) -> Outside | None:
    return binaries.outside if faces_outside(node) else None


def _launch(
    binaries: Binaries, node: Node, settings: Mapping[str, str], timeout_seconds: float, logged: int
) -> None:
    effective = {
        "listen_addresses": node.host,
        "port": str(node.port),
        "unix_socket_directories": node.socket,
        # A restored postgresql.conf may name paths of its source: with that data_directory, this would be the source's
        # server. Paths are relative to the directory of the start. The last one is relative to the data directory.
        "data_directory": "pgdata",
        "hba_file": "pgdata/pg_hba.conf",
        "ident_file": "pgdata/pg_ident.conf",
        "external_pid_file": "../server.pid",
        **(outside.settings(node) if (outside := _outside(binaries, node)) else {}),
        **settings,
    }
    options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in effective.items())
    told = f"--log={_LOG}", f"--options={options}"
    answer = _control(binaries, node, "start", *told, timeout_seconds=timeout_seconds)
    # A service that was killed meanwhile may have started the server first. Then we take that server.
    if answer.returncode != 0 and process_id(node) is None:
        raise _not_started(node, logged, answer.stderr)


def _as_process(binaries: Binaries, node: Node, process: int) -> Binaries:
    """Return the programs, run as the server's account. The node may have been given another account since."""
    try:
        uid = Path("/proc", str(process)).stat().st_uid
    except FileNotFoundError:  # it has just ended
        return binaries.of(node)
    return replace(binaries, account=account_with(uid)) if binaries.account else binaries


def _control(
    binaries: Binaries, node: Node, action: str, *options: str, timeout_seconds: float
) -> subprocess.CompletedProcess[str]:
    # Always with `-w`: without it a failure of the action would go unseen.
    waiting = [] if action == "reload" else ["-w", f"--timeout={max(1, round(timeout_seconds))}"]
    # Everyone on the host may read the command lines of pg_ctl and the server, so they do not contain the cluster's id.
    return binaries.run(
        "pg_ctl",
        action,
        *waiting,
        *options,
        timeout=timeout_seconds + 30,
        directory=node.directory,
        environment={"PGDATA": "pgdata"},
    )


def _await_answer(node: Node, role: str, timeout_seconds: float, logged: int) -> None:
    clock = SystemClock()
    latest = clock.monotonic() + timeout_seconds
    while not _answers(node, role):
        # pg_ctl reports success for a server that is still in recovery. Recovery may fail later.
        if process_id(node) is None:
            raise _not_started(node, logged)
        if clock.monotonic() > latest:
            raise NodeUnreachable(f"node {node.name} runs but does not answer")
        clock.sleep(_POLL_SECONDS)


def _not_started(node: Node, logged: int, otherwise: str = "") -> NodeUnreachable:
    """Return the error that says why: the fatal messages in the server's log after its first `logged` bytes."""
    told = _logged_since(node, logged) or otherwise
    # Leave out messages that only refused a session of ours meanwhile.
    lines = [line for line in told.splitlines() if f"{session.SUPERUSER}@" not in line]
    fatal = "\n".join(line for line in lines if "FATAL:" in line or "PANIC:" in line)
    return NodeUnreachable(
        f"node {node.name} does not start: {_tail(fatal or told)}", hint=f"see {_log(node)}"
    )


def _answers(node: Node, role: str = session.SUPERUSER) -> bool:
    try:
        session.connect(node, "postgres", application_name="stillhouse life sign", role=role).close()
    except NodeUnreachable as error:
        if _LOGIN_REFUSED in error.message:  # the server answers, and waiting would not change the answer
            raise
        return False
    return True


def _clear_stale_locks(node: Node) -> None:
    """Remove the lock files of a dead server. Another process may have its process id by now.

    PostgreSQL would take that process for a server and refuse to start (CreateLockFile in
    src/backend/utils/init/miscinit.c). If child processes of the dead server still run, its shared memory still keeps
    a new server from starting.
    """
    with suppress(FileNotFoundError):
        _tree(node).remove(_LOCK)
    for lock in Path(node.socket).glob(".s.PGSQL.*.lock"):
        lock.unlink(missing_ok=True)


def _write_access_rules(node: Node, outside: Outside | None = None, *, locked: bool = False) -> None:
    tree = _tree(node)
    names, rules = "", _ACCESS_RULES + (outside.access_rule if outside else "")
    if locked:
        roles = [_quoted(role) for role in (session.SUPERUSER, session.READER, first_role(node))]
        names = "".join(f'{session.SUPERUSER} "{peer_name()}" {role}\n' for role in roles)
        rules = f"{_LOCKED_RULES}local all {','.join(roles)} peer map={session.SUPERUSER}\n"
    tree.replace("pgdata/pg_ident.conf", names.encode(errors="surrogateescape"))
    tree.replace("pgdata/pg_hba.conf", rules.encode(errors="surrogateescape"))


def _quoted(role: str) -> str:
    """Write a name as both files take it (libpq/hba.c, next_token)."""
    return '"' + role.replace('"', '""') + '"'


def _private_directory(path: Path, account: Account | None) -> None:
    """Make a directory that only the account may use.

    Mode and owner are set by a descriptor: the owner of the parent directory may put something else in its place.
    """
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    directory = Tree(path).directory("")
    os.fchmod(directory.descriptor, 0o700)
    give(directory.descriptor, account)


def _tree(node: Node) -> Tree:
    """Return the node's files. Touch them in no other way: the directory is the account's, and we may be root."""
    return Tree(Path(node.directory))


def _data_directory(node: Node) -> Path:
    return Path(node.directory, "pgdata")


def _log(node: Node) -> Path:
    return Path(node.directory, _LOG)


def _log_size(node: Node) -> int:
    try:
        with os.fdopen(_tree(node).open(_LOG), "rb") as log:
            return log.seek(0, os.SEEK_END)
    except (FileNotFoundError, FileRefused):
        return 0


def _logged_since(node: Node, size: int) -> str:
    """Return the end of the log's text after its first `size` bytes, or why the log cannot be read."""
    try:
        with os.fdopen(_tree(node).open(_LOG), "rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(size if size <= end else 0, end - _LOG_BYTES))  # it may have been rotated since
            return log.read(_LOG_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except FileRefused as refusal:
        return refusal.message


def _tail(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-4:])
