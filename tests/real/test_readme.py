"""The README's commands, run as they stand: against a service that its own command starts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from stillhouse.domain.ids import is_uuid
from stillhouse.warehouse import embedded
from support.api_client import SignedClient

pytestmark = pytest.mark.xdist_group("readme")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SECONDS = 120.0

# What the README leaves to its reader: a place, an address, an environment.
_DATA, _ADDRESS, _PROGRAMS = "/var/lib/stillhouse", "127.0.0.1:8080", ".venv/bin/"


@dataclass(frozen=True)
class Block:
    language: str
    text: str


BLOCKS = [
    Block(language, text)
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
]


def _blocks_with(words: str) -> list[Block]:
    return [block for block in BLOCKS if words in block.text]


@dataclass
class Reader:
    """Someone who follows the README with a data directory and an address of his own."""

    data: Path
    address: str
    environment: dict[str, str]
    log: Path

    @property
    def said(self) -> str:
        """The end of what the service wrote."""
        return self.log.read_text()[-3000:]

    def own(self, text: str) -> str:
        """A block's text, with the reader's own in place of what the README leaves to him."""
        programs = f"{Path(sys.executable).parent}/"
        for theirs, ours in ((_DATA, str(self.data)), (_ADDRESS, self.address), (_PROGRAMS, programs)):
            text = text.replace(theirs, ours)
        return text

    def run(self, block: Block, given: dict[str, str] | None = None) -> str:
        """What a block prints; what it exports stays, as in a terminal."""
        text = self.own(block.text)
        for placeholder, value in (given or {}).items():
            assert placeholder in text
            text = text.replace(placeholder, value)
        if block.language == "python":
            return self._output([sys.executable, "-c", text])
        after = "\x01"
        printed, _, environment = self._output(
            ["bash", "-euc", f"{text}\nprintf '{after}'; env -0"]
        ).partition(after)
        self.environment = dict(one.split("=", 1) for one in environment.split("\0") if one)
        return printed

    def _output(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def reader(data_root: Path) -> Iterator[Reader]:
    data = data_root / "readme"
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    reader = Reader(data, address, dict(os.environ), data_root / "readme.log")
    (serve,) = _blocks_with("stillhouse serve")
    with reader.log.open("wb") as output:
        service = subprocess.Popen(
            ["bash", "-euc", reader.own(serve.text)],
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def is_ready() -> bool:
        assert service.poll() is None, reader.said
        try:
            return httpx.get(f"http://{reader.address}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        _until("the service to be ready", is_ready)
        yield reader
    finally:
        if service.poll() is None:
            os.killpg(service.pid, signal.SIGTERM)
        code = service.wait(60)
        site = embedded.open_site(data)
        for cluster in site.clusters.iterdir():
            if is_uuid(cluster.name):
                embedded.destroy(site, cluster.name)
    assert code == 0, reader.said


def test_the_commands_lead_from_nothing_to_a_snapshot(reader: Reader) -> None:
    (make_key,), (point_sdk,) = _blocks_with("key create"), _blocks_with("export HUAWEICLOUD")
    (create_cluster,), (create_snapshot,) = (
        _blocks_with("CreateClusterRequest("),
        _blocks_with("create_snapshot.py"),
    )

    key = json.loads(reader.run(make_key))
    assert reader.run(point_sdk, {"ACCESS_KEY": key["access_key"], "SECRET_KEY": key["secret_key"]}) == ""
    cluster = reader.run(create_cluster).strip()

    with httpx.Client() as http:
        url = f"http://{reader.address}"
        caller = SignedClient(url, key["project_id"], key["access_key"], key["secret_key"], http)

        def has_become(kind: str, subject: str) -> bool:
            shown = caller.request("GET", f"/v1.0/{{p}}/{kind}s/{subject}").json[kind]
            assert shown["status"] in ("CREATING", "AVAILABLE"), reader.said
            return bool(shown["status"] == "AVAILABLE")

        _until("the cluster", lambda: has_become("cluster", cluster))
        answer = reader.run(create_snapshot, {"CLUSTER_ID": cluster})
        snapshot = json.loads(answer)["snapshot"]["id"]
        _until("the snapshot", lambda: has_become("snapshot", snapshot))

    (in_the_terminal,) = _blocks_with("snapshot create")
    printed = reader.run(in_the_terminal)
    assert cluster in printed and "after-upgrade" in printed and "AVAILABLE" in printed


def test_everything_is_below_the_data_directory_as_the_documents_say(reader: Reader) -> None:
    there = {path.name for path in reader.data.iterdir()}
    architecture = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    table = architecture.split("| In the data directory |", 1)[1].split("\n\n", 1)[0]
    told = {*re.findall(r"^\| `([\w.]+)", table, re.MULTILINE), "catalog.sqlite-wal", "catalog.sqlite-shm"}
    assert there <= told
    assert {"kek", "catalog.sqlite", "repository"} <= there


def test_every_block_is_run_or_is_a_target_of_make() -> None:
    run = (
        "stillhouse serve",
        "key create",
        "export HUAWEICLOUD",
        "CreateClusterRequest(",
        "create_snapshot.py",
        "snapshot create",
    )
    for block in BLOCKS:
        if sum(words in block.text for words in run) != 1:
            for line in block.text.splitlines():
                assert re.fullmatch(r"make (demo|test) +# .*", line), line


def test_the_demo_that_make_runs_is_the_one_that_is_tested() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "examples/demo.py" in done.stdout
    assert "pytest" in done.stdout
    assert '_EXAMPLES / "demo.py"' in (ROOT / "tests" / "real" / "test_demo.py").read_text()
