"""PgBouncer before a server, which gives two statements of a session to two backends."""

import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Node

_PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
needs_pgbouncer = pytest.mark.skipif(_PROGRAM is None, reason="no PgBouncer here")


@contextmanager
def pooled(node: Node, role: str, password: str, place: Path, *, takes_options: bool) -> Iterator[int]:
    """Yield the port of 127.0.0.1 at which the pooler answers. Unless it `takes_options`, it refuses them."""
    assert _PROGRAM is not None
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place / "users").write_text(f'"{role}" "{password}"\n')
    ignored = "ignore_startup_parameters = options,extra_float_digits\n" if takes_options else ""
    (place / "pgbouncer.ini").write_text(
        f"[databases]\npostgres = host={node.host} port={node.port} min_pool_size=2\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = scram-sha-256\n"
        f"auth_file = {place}/users\npool_mode = transaction\ndefault_pool_size = 3\nserver_round_robin = 1\n"
        f"unix_socket_dir =\n{ignored}"
    )
    account = pwd.getpwnam("nobody")
    for path in (place, *place.iterdir()):
        shutil.chown(path, account.pw_uid, account.pw_gid)
    process = subprocess.Popen(
        [_PROGRAM, str(place / "pgbouncer.ini")],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
