"""Which address clients are told: never one that only a stranger's Host header names."""

from pathlib import Path

import pytest

from stillhouse.api.gateway import addresses
from stillhouse.api.gateway.addresses import Asked, choose
from stillhouse.cli.host.serve import run
from stillhouse.config import Settings
from stillhouse.errors import InvalidInput


def told(host: str, *, listen: str = "127.0.0.1:8080", public_url: str = "", **asked: object) -> str:
    of_socket = asked.get("socket", ("10.1.2.3", 8080))
    reached = Asked(str(asked.get("scheme", "http")), host, of_socket)  # type: ignore[arg-type]
    return choose(reached, public_url=public_url, listen=listen)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "127.9.8.7:1", "localhost", "localhost:18080", "[::1]:8080", "127.0.0.1"]
)
def test_a_loopback_address_is_told_back_with_any_port(host: str) -> None:
    assert told(host) == f"http://{host}"
    assert told(host, scheme="https") == f"https://{host}"


@pytest.mark.parametrize("host", ["warehouse.lan:8080", "WAREHOUSE.lan:8080"])
def test_the_name_listened_on_is_told_back_with_its_port_only(host: str) -> None:
    assert told(host, listen="warehouse.lan:8080") == f"http://{host}"
    assert told(host.replace("8080", "8081"), listen="warehouse.lan:8080") == ""
    assert told("warehouse.lan", listen="warehouse.lan:8080") == ""
    assert told("warehouse.lan", listen="warehouse.lan:80") == "http://warehouse.lan"


def test_where_all_addresses_are_listened_on_the_connection_s_own_is_told_back() -> None:
    assert told("10.1.2.3:8080", listen="0.0.0.0:8080") == "http://10.1.2.3:8080"
    assert told("10.1.2.4:8080", listen="0.0.0.0:8080") == ""
    assert told("10.1.2.3:8081", listen="0.0.0.0:8080") == ""
    assert told("0.0.0.0:8080", listen="0.0.0.0:8080") == ""
    assert told("[fd00::1]:8080", listen="[::]:8080", socket=("fd00:0::1", 8080)) == "http://[fd00::1]:8080"
    assert (
        told("10.1.2.3:8080", listen="[::]:8080", socket=("::ffff:10.1.2.3", 8080)) == "http://10.1.2.3:8080"
    )
    assert told("10.1.2.3:8080", listen="0.0.0.0:8080", socket=None) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example:8080",
        "localhost.evil.example",
        "localhost:8080@evil.example",
        "evil.example@localhost",
        "localhost:8080/@evil.example",
        "localhost#.evil.example",
        "localhost evil.example",
        "localhost:99999",
        "localhost:0",
        "localhost:",
        "localhost:٨٠",
        "localhost\n",
        "[::1",
        "[::1]evil.example",
        "2130706433",
        "0x7f.1",
    ],
)
def test_a_stranger_s_host_is_never_told_back(host: str) -> None:
    for listen in ("127.0.0.1:8080", "0.0.0.0:8080", "warehouse.lan:8080", "[::]:8080"):
        assert told(host, listen=listen) == ""
        public = "https://warehouse.example"
        assert told(host, listen=listen, public_url=public) == public


def test_the_public_address_is_told_whatever_is_asked() -> None:
    for host in ("127.0.0.1:8080", "evil.example", "warehouse.example"):
        assert told(host, public_url="https://warehouse.example:8443/") == "https://warehouse.example:8443"


@pytest.mark.parametrize(
    "url", ["", "http://10.0.0.1:8080", "https://warehouse.example", "https://[fd00::1]:443/"]
)
def test_a_public_address_that_clients_can_use_is_taken(url: str, tmp_path: Path) -> None:
    addresses.check(Settings(data=tmp_path, public_url=url, region="eu-de_1"))


@pytest.mark.parametrize(
    "url",
    [
        "warehouse.example",
        "ftp://warehouse.example",
        "https://",
        "https://user:word@warehouse.example",
        "https://warehouse.example/dws",
        "https://warehouse.example?x=1",
        "https://warehouse.example#x",
        "https://warehouse.example:99999",
        "https://warehouse example",
        "https://warehouse.example\n",
    ],
)
def test_another_public_address_is_refused_at_the_start(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="STILLHOUSE_PUBLIC_URL"):
        addresses.check(Settings(data=tmp_path, public_url=url))


@pytest.mark.parametrize("region", ["", "eu de", "eu/de", "-eu", "é", "x" * 65])
def test_a_region_that_no_client_could_name_is_refused_at_the_start(region: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="STILLHOUSE_REGION"):
        addresses.check(Settings(data=tmp_path, region=region))


def test_the_service_looks_at_them_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="STILLHOUSE_PUBLIC_URL"):
        run(Settings(data=tmp_path / "data", public_url="warehouse.example"))
    assert list(tmp_path.iterdir()) == []
