"""`stillhouse serve` as operators start it: with a certificate on all addresses, and refused there without one."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from support.processes.service import COMMAND
from support.servers.certificates import Authority

SECONDS = 90


def test_plain_http_on_all_addresses_is_refused_in_a_line_that_says_what_to_do(tmp_path: Path) -> None:
    command = [*COMMAND, "serve", "--data", str(tmp_path / "data"), "--listen", "0.0.0.0:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and "--tls-cert" in line and "--insecure" in line, done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.long
@pytest.mark.parametrize("told_by", ["options", "settings"])
def test_with_a_certificate_it_is_served_on_all_addresses(
    told_by: str, data_root: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    told = {
        "listen": f"0.0.0.0:{port}",
        "tls-cert": str(certificate),
        "tls-key": str(key),
        "public-url": "https://warehouse.example",
    }
    words, variables = [], {}
    for name, value in told.items():
        if told_by == "options":
            words += [f"--{name}", value]
        else:
            variables[f"STILLHOUSE_{name.upper().replace('-', '_')}"] = value
    data, log = data_root / told_by, tmp_path / "service.log"
    data.mkdir()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*COMMAND, "serve", "--data", data, *words],
            env=os.environ | variables,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as service,
        httpx.Client(verify=authority.trusted(), base_url=f"https://127.0.0.1:{port}", timeout=30) as http,
    ):
        try:
            deadline = time.monotonic() + SECONDS
            while not _is_ready(http):
                assert service.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
                time.sleep(0.05)
            versions = http.get("/v3").json()
            assert versions["version"]["links"][0]["href"].startswith("https://warehouse.example/")
        finally:
            service.send_signal(signal.SIGTERM)
        assert service.wait(SECONDS) == 0


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
