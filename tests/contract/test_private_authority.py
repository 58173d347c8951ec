"""Clients that trust an authority of one's own, as docs/clients.md tells it, and their word where they do not."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stillhouse.api.wire.certificate import Certificate
from stillhouse.api.wire.crowd import Crowd
from support.api.application import PROJECT, Service, app_of, serving_service
from support.api.http_server import serving_tls
from support.servers.certificates import Authority

CLIENTS = Path(__file__).parents[1] / "clients"


@dataclass(frozen=True)
class Secured:
    service: Service
    url: str
    ca: str
    home: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CLOUD_SDK_AK": self.service.client.access_key,
            "CLOUD_SDK_SK": self.service.client.secret_key,
            "STILLHOUSE_PROJECT": PROJECT,
            **environment,
        }
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=False)

    def terminal(self, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            sys.executable, "-m", "stillhouse", "cluster", "list", "--endpoint", endpoint, **environment
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    home = tmp_path_factory.mktemp("tls")
    (home / "data").mkdir()
    authority = Authority(home)
    with (
        serving_service(home / "data") as service,
        serving_tls(app_of(service), Certificate(*authority.issue()), Crowd(100, 100)) as port,
    ):
        service.add_cluster()
        yield Secured(service, f"https://127.0.0.1:{port}", str(authority.file), home)


def test_the_terminal_trusts_the_authority_that_it_is_told(secured: Secured) -> None:
    done = secured.terminal(secured.url, STILLHOUSE_CA_FILE=secured.ca)
    assert done.returncode == 0 and "dw-" in done.stdout, done.stderr


def test_the_terminal_names_the_cause_where_it_trusts_nobody(secured: Secured) -> None:
    done = secured.terminal(secured.url)
    assert done.returncode == 1 and "--ca-file" in done.stderr
    done = secured.terminal(secured.url.replace("https", "http"))
    assert done.returncode == 1 and "TLS" in done.stderr
    done = secured.terminal(secured.service.endpoint.replace("http", "https"))
    assert done.returncode == 1 and "http://" in done.stderr.partition("hint:")[2]
    done = secured.terminal(secured.url, STILLHOUSE_CA_FILE=str(secured.home / "missing"))
    assert done.returncode == 1 and "holds no certificates" in done.stderr


def test_the_sdk_for_python_trusts_it(secured: Secured) -> None:
    program = (
        "import os\n"
        "from huaweicloudsdkcore.auth.credentials import BasicCredentials\n"
        "from huaweicloudsdkcore.http.http_config import HttpConfig\n"
        "from huaweicloudsdkdws.v2 import DwsClient, ListClustersRequest\n"
        "project = os.environ['STILLHOUSE_PROJECT']\n"
        "key = BasicCredentials(os.environ['CLOUD_SDK_AK'], os.environ['CLOUD_SDK_SK'], project)\n"
        "config = HttpConfig(ssl_ca_cert=os.environ['CA'])\n"
        "client = DwsClient.new_builder().with_http_config(config).with_credentials(key)"
        ".with_endpoint(os.environ['URL']).build()\n"
        "print(client.list_clusters(ListClustersRequest()).count)\n"
    )
    done = secured.run(sys.executable, "-c", program, CA=secured.ca, URL=secured.url)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_curl_trusts_it(secured: Secured) -> None:
    assert secured.run("curl", "-s", "--cacert", secured.ca, f"{secured.url}/healthz").returncode == 0
    assert secured.run("curl", "-s", f"{secured.url}/healthz").returncode == 60


@pytest.mark.long
@pytest.mark.skipif(
    os.environ.get("CI") != "true" and not os.environ.get("STILLHOUSE_CLIENTS"), reason="built in CI"
)
@pytest.mark.skipif(shutil.which("go") is None, reason="go is not on this machine")
def test_the_sdk_for_go_trusts_it(secured: Secured) -> None:
    """It takes the system's authorities, which Go reads from SSL_CERT_FILE."""
    where = secured.home / "go"
    shutil.copytree(CLIENTS / "go", where)
    for path in (path for path in where.rglob("*") if path.is_file()):
        text = path.read_text()
        path.write_text(text.replace("<YOUR REGION>", "local-1").replace("{project_id}", PROJECT))
    built = subprocess.run(
        ["go", "build", "-o", "bin/", "./..."], cwd=where, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    secured.service.add_cluster(cluster_id="44b277eb-39be-4921-be31-3d61b43651d7")
    place = {"HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1": secured.url}
    done = secured.run(str(where / "bin" / "create_snapshot"), SSL_CERT_FILE=secured.ca, **place)
    assert "snapshot-3" in {one["name"] for one in secured.service.list_snapshots()}, done.stderr
