"""A catalog on PostgreSQL that cannot be used is told in one clear line, which holds no password."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.processes.service import COMMAND
from support.servers.catalog_server import fresh_postgres_database

SECRET = "s3cret-of-the-catalog"


@pytest.fixture(scope="module")
def server() -> str:
    return fresh_postgres_database()


@pytest.fixture(scope="module")
def guarded(server: str) -> Iterator[str]:
    """A role that must show its password, and may do nothing."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'")
        (path,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        rules = Path(path)
        before = rules.read_text()
        rules.write_text(f"local all guarded scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        yield server.replace("catalog@", "guarded@")
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("DROP ROLE guarded")


def passwords(directory: Path, password: str) -> str:
    file = directory / "pgpass"
    file.write_text(f"*:*:*:*:{password}\n")
    file.chmod(0o600)
    return f"&passfile={file}"


def refusal(data: Path, catalog: str) -> list[str]:
    """What a command says that opens the catalog: the line of the error, and that of the hint."""
    done = subprocess.run(
        [*COMMAND, "key", "list", "--data", str(data)],
        env=os.environ | {"STILLHOUSE_CATALOG": catalog},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stderr + done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines
    assert lines[1].startswith("hint: ")
    return lines


def test_a_url_with_a_password(tmp_path: Path) -> None:
    line, hint = refusal(tmp_path, f"postgresql://catalog:{SECRET}@127.0.0.1/catalog")
    assert "holds a password" in line
    assert "passfile=" in hint


def test_no_server(tmp_path: Path) -> None:
    line, _ = refusal(tmp_path, f"postgresql://catalog@/catalog?host={tmp_path}")
    assert "does not answer" in line


def test_an_unknown_parameter(tmp_path: Path, server: str) -> None:
    line, _ = refusal(tmp_path, f"{server}&sslmod=require")
    assert "sslmod" in line


def test_a_database_that_is_not_there(tmp_path: Path, server: str) -> None:
    line, _ = refusal(tmp_path, server.replace("?host", "_not?host"))
    assert "does not exist" in line


def test_no_password(tmp_path: Path, guarded: str) -> None:
    line, hint = refusal(tmp_path, f"{guarded}&passfile={tmp_path}/none")
    assert "no password supplied" in line
    assert "passfile=" in hint


def test_a_wrong_password(tmp_path: Path, guarded: str) -> None:
    line, _ = refusal(tmp_path, guarded + passwords(tmp_path, f"{SECRET}-of-yesterday"))
    assert 'password authentication failed for user "guarded"' in line


def test_a_role_without_rights(tmp_path: Path, guarded: str) -> None:
    line, hint = refusal(tmp_path, guarded + passwords(tmp_path, SECRET))
    assert "may not make tables" in line
    assert "GRANT CREATE" in hint
