"""The proxies of docs/proxy.md, run with the very files that the page shows, before the service."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from support.api.application import Service, serving_service
from support.servers.certificates import Authority

PAGE = (Path(__file__).parents[2] / "docs" / "proxy.md").read_text()
SECONDS = 30


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "data").mkdir()
    with serving_service(tmp_path / "data") as service:
        yield service


def needed(program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        assert os.environ.get("CI") != "true", f"CI has no {program}"
        pytest.skip(f"{program} is not on this machine")
    return found


def shown(language: str) -> str:
    """The page's file in this language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def before(service: Service, text: str) -> str:
    """The page's file with the service's address."""
    assert "127.0.0.1:8080" in text
    return text.replace("127.0.0.1:8080", service.endpoint.removeprefix("http://"))


def fitted(text: str, authority: Authority, port: int) -> str:
    """The page's file with this test's addresses and certificate, each of which it must name."""
    certificate, key = authority.issue()
    for told, ours in {
        "/etc/stillhouse/service.pem": str(certificate),
        "/etc/stillhouse/service.key": str(key),
        "443": str(port),
        "warehouse.example": "127.0.0.1",
    }.items():
        assert told in text
        text = text.replace(told, ours)
    return text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, home: Path) -> Iterator[None]:
    log = home / "proxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={"HOME": str(home), "PATH": os.environ["PATH"], "XDG_DATA_HOME": str(home)},
        )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def nginx(text: str, home: Path) -> list[str]:
    """The page's server in the least configuration of one's own."""
    whole = home / "nginx.conf"
    paths = "".join(
        f"{name}_temp_path {home}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole.write_text(
        f"daemon off; pid {home}/nginx.pid; error_log stderr; user root;\nevents {{}}\n"
        f"http {{ access_log off;\n{paths}{text} }}\n"
    )
    return [needed("nginx"), "-p", str(home), "-c", str(whole)]


def caddy(text: str, home: Path) -> list[str]:
    whole = home / "Caddyfile"
    whole.write_text(
        f"{{\n    admin off\n    auto_https disable_redirects\n    skip_install_trust\n}}\n{text}"
    )
    return [needed("caddy"), "run", "--config", str(whole), "--adapter", "caddyfile"]


PROXIES = {"nginx": nginx, "caddy": caddy}


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_signed_call_passes_the_proxy_that_the_page_shows(
    proxy: str, service: Service, tmp_path: Path
) -> None:
    needed(proxy)
    port, authority = free_port(), Authority(tmp_path)
    command = PROXIES[proxy](fitted(before(service, shown(proxy)), authority, port), tmp_path)
    cluster = service.add_cluster()
    with running(command, port, tmp_path), httpx.Client(verify=authority.trusted(), timeout=30) as http:
        client = replace(service.client, endpoint=f"https://127.0.0.1:{port}", http=http)
        listed = client.request("GET", "/v1.0/{p}/clusters")
        assert (listed.status, [one["id"] for one in listed.json["clusters"]]) == (200, [cluster]), listed.raw
        body = {"snapshot": {"name": "by-proxy", "cluster_id": cluster}}
        assert client.request("POST", "/v1.0/{p}/snapshots", body).status == 200
        query = {"datastore_type": "dws", "limit": "1"}
        assert client.request("GET", "/v1.0/{p}/snapshots", query=query).status == 200
        # It names itself, so nobody behind it is taken for this host.
        assert http.get(f"https://127.0.0.1:{port}/metrics").status_code in (401, 404)


def test_nginx_before_two_replicas_asks_the_other_when_one_is_away(service: Service, tmp_path: Path) -> None:
    needed("nginx")
    port, away, authority = free_port(), free_port(), Authority(tmp_path)
    text = shown("nginx-replicas")
    here = service.endpoint.removeprefix("http://")
    for told, ours in {"replica-1.example:8080": f"127.0.0.1:{away}", "replica-2.example:8080": here}.items():
        assert told in text
        text = text.replace(told, ours)
    cluster = service.add_cluster()
    with (
        running(nginx(fitted(text, authority, port), tmp_path), port, tmp_path),
        httpx.Client(verify=authority.trusted(), timeout=30) as http,
    ):
        client = replace(service.client, endpoint=f"https://127.0.0.1:{port}", http=http)
        for number in range(4):
            assert client.request("GET", "/v1.0/{p}/clusters").status == 200
            body = {"snapshot": {"name": f"by-proxy-{number}", "cluster_id": cluster}}
            # The connection to the one that is away is refused, so nothing was sent twice.
            assert client.request("POST", "/v1.0/{p}/snapshots", body).status == 200


def test_a_proxy_that_changes_the_host_is_named_by_the_refusal(service: Service, tmp_path: Path) -> None:
    port, authority = free_port(), Authority(tmp_path)
    plain = re.sub(r"^ *proxy_set_header .*\n", "", shown("nginx"), flags=re.MULTILINE)
    command = nginx(fitted(before(service, plain), authority, port), tmp_path)
    with running(command, port, tmp_path), httpx.Client(verify=authority.trusted(), timeout=30) as http:
        client = replace(service.client, endpoint=f"https://127.0.0.1:{port}", http=http)
        refused = client.request("GET", "/v1.0/{p}/clusters")
        assert (refused.status, refused.error_code) == (401, "APIGW.0301")
        assert f"Host: {service.endpoint.removeprefix('http://')}" in refused.json["error_msg"]
        # An unknown key is refused in the same words.
        unknown = replace(client, access_key="A" * len(client.access_key)).request(
            "GET", "/v1.0/{p}/clusters"
        )
        assert unknown.json["error_msg"] == refused.json["error_msg"]
