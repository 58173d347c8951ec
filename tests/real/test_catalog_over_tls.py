"""A service whose catalog is on another host: TLS to a server that is known, and refusals that name what to set."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes.service import COMMAND, Service, serving
from support.servers.catalog_server import CatalogServer, Listening, restartable_catalog_server
from support.servers.certificates import Authority
from support.servers.fifteen import PG_BIN, needs_fifteen
from support.stores.s3_server import free_ports

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("catalog over tls"), needs_fifteen]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def server(authority: Authority, port: int) -> Iterator[CatalogServer]:
    there = Listening("127.0.0.1,127.0.0.2", "127.0.0.0/8", port, authority.issue())
    with restartable_catalog_server(there, PG_BIN) as server:
        yield server


def url(port: int, ca_file: Path, host: str = "127.0.0.1") -> str:
    return f"postgresql://catalog@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={ca_file}"


def refused(data: Path, catalog: str) -> str:
    done = subprocess.run(
        [*COMMAND, "serve", "--data", str(data), "--listen", "127.0.0.1:0"],
        env=Service(data).environment() | {"STILLHOUSE_CATALOG": catalog},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def test_all_sessions_of_a_service_are_encrypted(
    server: CatalogServer, authority: Authority, port: int, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_CATALOG", url(port, authority.file))
    monkeypatch.setenv("STILLHOUSE_CATALOG_CONNECTIONS", "12")
    with serving(data_root / "over-tls") as service:
        service.catalog = url(port, authority.file)
        assert service.call("GET", "/v1.0/{p}/clusters").status == 200
        sessions = service.rows(
            "SELECT ssl, count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE backend_type = 'client backend' GROUP BY ssl"
        )
    assert [encrypted for encrypted, _ in sessions] == [True] and sessions[0][1] > 3


@pytest.mark.parametrize(
    ("ca", "host", "said", "hint"),
    [
        ("another", "127.0.0.1", "certificate verify failed", "sslrootcert="),
        ("missing", "127.0.0.1", "does not exist", "make the role, the database or the file that is missing"),
        ("right", "127.0.0.2", "does not match host name", "by the name that the server's certificate has"),
    ],
)
def test_a_server_that_is_not_known_is_refused_by_name(
    server: CatalogServer,
    authority: Authority,
    port: int,
    data_root: Path,
    tmp_path: Path,
    ca: str,
    host: str,
    said: str,
    hint: str,
) -> None:
    (tmp_path / "other").mkdir()
    files = {
        "another": Authority(tmp_path / "other").file,
        "missing": tmp_path / "no.pem",
        "right": authority.file,
    }
    told = refused(data_root / f"refused-{ca}", url(port, files[ca], host))
    assert said in told and hint in told, told
    assert "Traceback" not in told
