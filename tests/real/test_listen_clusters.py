"""Clusters that are reached from other hosts: by TLS, at the address that `endpoints` tell; and servers that go on."""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from stillhouse.errors import InvalidInput
from stillhouse.postgres.host import server
from stillhouse.postgres.host.outside import outside_at
from stillhouse.warehouse.cluster import embedded
from support.processes.service import PASSWORD, Service, serving
from support.servers.certificates import Authority
from support.servers.fifteen import PG_BIN, needs_fifteen

pytestmark = pytest.mark.long

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


def own_address() -> str:
    """This host's address on a network, without a packet sent."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("the host has no address but loopback ones")
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.issue()
    return made


@pytest.fixture(scope="module")
def service(data_root: Path, authority: Authority) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("STILLHOUSE_LISTEN_CLUSTERS", own_address())
        changed.setenv("STILLHOUSE_TLS_CERT", str(authority.file.with_name("service.pem")))
        changed.setenv("STILLHOUSE_TLS_KEY", str(authority.file.with_name("service.key")))
        changed.setenv("STILLHOUSE_STOP_CLUSTERS", "false")
        changed.setenv("STILLHOUSE_PG_BIN", str(PG_BIN))
        changed.setenv("STILLHOUSE_TIMER_SECONDS", "0.3")
        yield from _serving(data_root / "listening", authority)


def _serving(data: Path, authority: Authority) -> Iterator[Service]:
    with serving(data, authority=authority.file) as running:
        yield running


def log_in(
    endpoint: str, authority: Authority, tls: str = "verify-ca"
) -> psycopg.Connection[tuple[object, ...]]:
    host, _, port = endpoint.partition(":")
    return psycopg.connect(
        host=host, port=port, user="dbadmin", password=PASSWORD, dbname="postgres", sslmode=tls,
        sslrootcert=str(authority.file), connect_timeout=10,
    )  # fmt: skip


def shown_certificate(endpoint: str) -> bytes:
    host, _, port = endpoint.partition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with closing(socket.create_connection((host, int(port)), 10)) as plain:
        plain.sendall(_SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain) as encrypted:
            found = encrypted.getpeercert(binary_form=True)
    assert found is not None
    return found


@needs_fifteen
def test_clients_reach_a_cluster_at_its_endpoint_encrypted_and_servers_outlive_the_service(
    service: Service, authority: Authority
) -> None:
    first, second = (service.request_cluster(name, 1) for name in ("first", "second"))
    for one in (first, second):
        assert service.settled(one)["status"] == "AVAILABLE", service.cluster(one)["failed_reasons"]
    endpoints = [service.cluster(one)["endpoints"][0]["connect_info"] for one in (first, second)]
    assert [one.partition(":")[0] for one in endpoints] == [own_address()] * 2
    assert endpoints[0] != endpoints[1], "each has a port of its own there"
    with closing(log_in(endpoints[0], authority)) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        log_in(endpoints[0], authority, "disable")
    taken = int(endpoints[0].partition(":")[2])
    wanted = {"name": "third", "node_type": "n", "number_of_node": 1, "vpc_id": "v", "subnet_id": "s",
              "user_name": "dbadmin", "user_pwd": PASSWORD, "port": taken}  # fmt: skip
    answer = service.call("POST", "/v1.0/{p}/clusters", {"cluster": wanted})
    assert answer.status == 400 and f"another cluster listens on port {taken}" in answer.json["error_msg"]

    before = shown_certificate(endpoints[0])
    authority.issue()
    service.until("the new certificate", lambda: shown_certificate(endpoints[0]) != before)

    nodes = [
        node
        for one in (first, second)
        for node in embedded.planned_nodes(embedded.open_site(service.data), one)
    ]
    at_work = [server.process_id(node) for node in nodes]
    assert service.stop() == 0
    with closing(log_in(endpoints[0], authority)) as connection:
        assert connection.execute("SELECT 1").fetchall() == [(1,)]
    service.start()
    assert [server.process_id(node) for node in nodes] == at_work
    assert service.cluster(first)["status"] == "AVAILABLE"
    for one in (first, second):
        service.delete_cluster(one)


def test_an_address_that_would_not_do_is_refused_with_the_reason(authority: Authority) -> None:
    for listen, why in (
        ("0.0.0.0", "all addresses"),
        ("127.0.0.1", "loopback"),
        ("198.51.100.7", "cannot listen"),
    ):
        with pytest.raises(InvalidInput, match=why):
            outside_at(listen, authority.file, authority.file, insecure=False)
    with pytest.raises(InvalidInput, match="without TLS"):
        outside_at(own_address(), None, None, insecure=False)


def test_programs_that_cannot_encrypt_are_refused_at_the_start(authority: Authority, data_root: Path) -> None:
    """Those that come with the Python packages are built without TLS."""
    outside = outside_at(own_address(), authority.file, authority.file, insecure=False)
    with pytest.raises(
        InvalidInput, match=r"cannot encrypt: .*SSL is not supported by this build"
    ) as refused:
        embedded.open_site(data_root, outside=outside)
    assert "built without TLS" in refused.value.hint and "STILLHOUSE_PG_BINS" in refused.value.hint
    embedded.open_site(data_root, outside=outside_at(own_address(), None, None, insecure=True))
