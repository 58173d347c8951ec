"""Each cluster's servers run as an account of their own: an intruder in one reaches no other, and nothing of ours.

The attacker here is a superuser of his own server, who runs programs there as its account.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stillhouse.domain.cluster import Node
from stillhouse.postgres.sessions import session
from support.processes.service import Service, serving

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("accounts"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes accounts"),
]


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "accounts") as running:
        yield running


@pytest.fixture(scope="module")
def attacker(service: Service) -> Node:
    (node,) = service.nodes(service.create_cluster("attacker", 1))
    return node


@pytest.fixture(scope="module")
def victims_id(service: Service) -> str:
    return service.create_cluster("victim", 1)


@pytest.fixture(scope="module")
def victim(service: Service, victims_id: str) -> Node:
    (node,) = service.nodes(victims_id)
    return node


def run(node: Node, command: str) -> str:
    """The output of a program that the node's own server runs."""
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("CREATE TEMPORARY TABLE told (line text)")
        with connection.cursor() as cursor:
            cursor.execute(
                b"COPY told FROM PROGRAM '" + f"({command}) 2>&1 || true".replace("'", "''").encode() + b"'"
            )
        return "\n".join(line for (line,) in connection.execute("SELECT line FROM told").fetchall())


def refused(service: Service, cluster_id: str, statement: str) -> str:
    with service.log_in(cluster_id) as connection, pytest.raises(psycopg.Error) as raised:
        connection.execute(statement.encode())
    return str(raised.value)


def test_each_cluster_has_an_account(attacker: Node, victim: Node) -> None:
    assert attacker.os_user != victim.os_user
    assert Path(attacker.directory).stat().st_uid != Path(victim.directory).stat().st_uid


def test_a_tenant_calls_no_function_that_connects(service: Service, victim: Node) -> None:
    (mine,) = [one for (one,) in service.rows("SELECT id FROM sh_clusters WHERE name = 'attacker'")]
    with service.log_in(mine) as connection:
        names = connection.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e'"
            " JOIN pg_extension e ON e.oid = d.refobjid WHERE extname IN ('dblink', 'postgres_fdw')"
            " AND has_function_privilege(p.oid, 'EXECUTE')"
        ).fetchall()
    assert names == []


def test_no_program_of_another_clusters_enters_the_sockets_directory(attacker: Node, victim: Node) -> None:
    for place in (victim.socket, victim.directory):
        assert "Permission denied" in run(attacker, f"ls {place}/")


def test_start_up_options_never_reach_a_server_behind_another_clusters_socket(
    attacker: Node, victim: Node
) -> None:
    """Before the fix, start-up options were applied before the refusal, as a superuser's: they loaded a library."""
    with closing(session.connect(attacker, "postgres")) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS dblink SCHEMA public")
        with pytest.raises(psycopg.Error, match="Permission denied"):
            connection.execute(
                "SELECT public.dblink_connect(%s::text)",
                [f"host={victim.socket} port={victim.port} user=stillhouse dbname=postgres"],
            )


def test_ones_own_socket_wants_a_password(attacker: Node, service: Service) -> None:
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(host=attacker.socket, port=attacker.port, user="stillhouse", dbname="postgres")
    rules = Path(attacker.directory, "pgdata", "pg_hba.conf").read_text()
    assert "peer" not in rules and "trust" not in rules


def test_no_command_line_tells_a_clusters_id(service: Service, victims_id: str, victim: Node) -> None:
    def command_lines() -> str:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    found.append(
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return "\n".join(found)

    snapshot = service.request_snapshot(victims_id, "watched")
    seen: list[str] = []

    def has_ended() -> bool:
        seen.append(command_lines())
        return bool(service.snapshot(snapshot)["status"] == "AVAILABLE")

    service.until("the snapshot", has_ended)
    assert victim.socket in "".join(seen), "the server is among what was looked at"
    assert victims_id not in "".join(seen)


def test_what_lies_below_the_data_directory_is_closed_to_others(service: Service, victim: Node) -> None:
    """Its parts are passed through by the servers' accounts, but not listed; PostgreSQL's programs are everybody's.

    PostgreSQL makes its external pid file readable to all, in a directory that nobody else enters.
    """
    open_files, open_directories = [], []
    for top, directories, files in os.walk(service.data):
        if Path(top) == service.data and "postgres" in directories:
            directories.remove("postgres")
        for name in [*directories, *files]:
            status = Path(top, name).lstat()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode) and mode & 0o066:
                open_directories.append((top, name, oct(mode)))
            elif stat.S_ISREG(status.st_mode) and mode & 0o077 and name != "server.pid":
                open_files.append((top, name, oct(mode)))
    assert (open_directories, open_files) == ([], [])
    for secret in ("catalog.sqlite", "kek", "secrets.key"):
        assert (service.data / secret).exists()
        assert "Permission denied" in run(victim, f"cat {service.data / secret}")


def test_an_account_goes_with_its_cluster_and_is_given_to_no_other(service: Service) -> None:
    doomed = service.create_cluster("doomed", 1)
    (node,) = service.nodes(doomed)
    account = Path(node.directory).stat().st_uid
    run(node, "setsid -f sleep 86400 >/dev/null 2>&1")
    service.until("the program left behind", lambda: processes_of(account, "sleep"))
    service.delete_cluster(doomed)
    assert not processes_of(account, "")
    assert f":{account}:" not in Path("/etc/passwd").read_text()
    (next_node,) = service.nodes(service.create_cluster("next", 1))
    assert Path(next_node.directory).stat().st_uid > account


def processes_of(uid: int, name: str) -> list[Any]:
    """The processes that run. One that has ended, and was not waited for yet, has no command line any more."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
                if command and name.encode() in command and entry.stat().st_uid == uid:
                    found.append(entry.name)
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found
