"""Transfer of whole schemas from one server's database into another's, by pg_dump piped into pg_restore."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from stillhouse.domain.cluster import Node
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.host import account
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions.session import READER, as_conninfo, password_file, program_options

_CHUNK = 1 << 20
_POLL_SECONDS = 0.2
_DEAF = {"event_triggers": "off"}
# The archive carries no owners and no rights, because the loading role may not grant them. Publications and labels
# belong to the database.
_LEFT_OUT = (
    "--no-owner",
    "--no-privileges",
    "--no-publications",
    "--no-subscriptions",
    "--no-security-labels",
)


@dataclass(frozen=True)
class Login:
    """A role that may log in to a server over TCP. If it `may_be_deaf`, it may switch event triggers off for itself."""

    role: str
    password: str = field(repr=False)
    may_be_deaf: bool = False


def transfer(
    binaries: Binaries,
    source: Node,
    target: Node,
    database: str,
    schemas: Sequence[str],
    login: Login,
    *,
    check: Callable[[], None],
    show: Callable[[int], None],
) -> None:
    """Copy the schemas in one transaction on the target: all or nothing, even if we are killed.

    `schemas` are plain lower-case names. Memory stays bounded. `check` is called again and again, and raises to stop
    the work. `show` is called with the bytes moved so far. Raises RestoreFailed with the server's own words.
    """
    programs = binaries.of(source).directory
    dump: list[str | Path] = [programs / "pg_dump", "--format=custom", "--compress=0", *_LEFT_OUT]
    dump += [f"--schema={schema}" for schema in schemas]
    dump += [f"--dbname={_reader_at(source, database)}"]
    restore: list[str | Path] = [programs / "pg_restore", "--format=custom", "--single-transaction"]
    restore += ["--exit-on-error", *_LEFT_OUT, f"--dbname={_login_at(target, database, login)}"]
    with ExitStack() as stack:
        told_by_dump, told_by_restore = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        from_, to = binaries.of(source).account, binaries.of(target).account
        secret, passwords = stack.enter_context(account.private_file(from_, password_file(source)))
        reader = stack.enter_context(
            account.start(
                from_,
                dump,
                stdout=subprocess.PIPE,
                stderr=told_by_dump,
                environment={"PGPASSFILE": passwords},
                descriptors=[secret],
            )
        )
        writer = stack.enter_context(
            account.start(
                to,
                restore,
                stdin=subprocess.PIPE,
                stderr=told_by_restore,
                # Not an argument, because everyone may read arguments.
                environment={"PGPASSWORD": login.password},
            )
        )
        pump = _Pump(reader, writer)
        pump.start()
        stack.callback(pump.join)  # it ends when both processes have ended
        stack.callback(writer.kill)
        stack.callback(reader.kill)
        while pump.is_alive() or writer.poll() is None:
            check()
            show(pump.passed)
            _wait(pump, writer)
        if reader.wait() != 0 and not pump.was_refused:
            raise RestoreFailed(f"the tables cannot be read from the snapshot: {_reason(told_by_dump)}")
        if writer.wait() != 0:
            raise _not_made(target, _reason(told_by_restore))


def _not_made(target: Node, reason: str) -> RestoreFailed:
    return RestoreFailed(
        f"the tables cannot be made on node {target.name}: {reason}",
        hint="the types, functions and extensions that they need must be as they were at the snapshot",
    )


class _Pump(threading.Thread):
    """Carries the archive from one process to the other. It passes the end on only if the whole archive was read."""

    def __init__(self, reader: subprocess.Popen[bytes], writer: subprocess.Popen[bytes]) -> None:
        super().__init__(name="table transfer", daemon=True)
        self._reader, self._writer = reader, writer
        self.passed = 0
        self.was_refused = False

    def run(self) -> None:
        assert self._reader.stdout is not None
        assert self._writer.stdin is not None
        source, target = self._reader.stdout.fileno(), self._writer.stdin.fileno()
        while chunk := os.read(source, _CHUNK):
            rest = memoryview(chunk)
            try:
                while rest:
                    rest = rest[os.write(target, rest) :]
            except BrokenPipeError:
                self.was_refused = True
                self._reader.kill()
                return
            self.passed += len(chunk)
        if self._reader.wait() == 0:
            self._writer.stdin.close()
        else:
            self._writer.kill()  # its archive is incomplete


def _wait(pump: _Pump, writer: subprocess.Popen[bytes]) -> None:
    if pump.is_alive():
        pump.join(_POLL_SECONDS)
        return
    with suppress(subprocess.TimeoutExpired):
        writer.wait(_POLL_SECONDS)


def _reason(told: IO[bytes]) -> str:
    """Return the server's error and its detail, but not the statement, which may be very long."""
    told.seek(0)
    lines = told.read().decode(errors="replace").splitlines()
    wanted = [line for line in lines if "ERROR:" in line or "FATAL:" in line or line.startswith("DETAIL:")]
    return " / ".join(line.partition("ERROR:  ")[2] or line for line in (wanted or lines)[:3]) or "no word"


def _reader_at(node: Node, database: str) -> str:
    return as_conninfo(
        {
            "host": node.socket,
            "port": str(node.port),
            "user": READER,
            "dbname": database,
            "options": program_options(node, database),
        }
    )


def _login_at(node: Node, database: str, login: Login) -> str:
    return as_conninfo(
        {
            "host": node.host,
            "port": str(node.port),
            "user": login.role,
            "dbname": database,
            "application_name": login.role,
            "gssencmode": "disable",
            "connect_timeout": "10",
            "options": program_options(node, database, _DEAF if login.may_be_deaf else {}, may_set_all=False),
        }
    )
