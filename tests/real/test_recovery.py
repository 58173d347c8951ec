"""The drill of docs/recovery.md, run as it stands: all but the bucket and the key is lost."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from support.api.client import SignedClient
from support.processes.reader import ROOT, Reader, blocks_of, destroy_clusters, until
from support.processes.service import COMMAND, PASSWORD, PROJECT, Service, fill, serving
from support.servers.warehouses import servers_below

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("recovery")]

(
    EXPORT,
    COPY,
    PLACES,
    LOOK,
    RESTORE,
    LOG_IN,
    STOP,
    REBUILD,
    SERVE,
    KEY,
    RESTORE_BY_API,
    OTHER_PLACES,
) = BLOCKS = blocks_of(ROOT / "docs" / "recovery.md")
ROWS = "SELECT id, balance, pad FROM accounts ORDER BY id"


@dataclass
class Lost:
    """What is left: a reader with two repositories and their keys, and what the snapshot must hold."""

    reader: Reader
    snapshot: str
    rows: list[tuple[Any, ...]]
    recovered: Path

    def check_rows(self, host: str, port: int) -> None:
        with psycopg.connect(
            host=host, port=port, user="dbadmin", password=PASSWORD, dbname="gaussdb"
        ) as connection:
            assert connection.execute(ROWS).fetchall() == self.rows
            # The data nodes are the clone's own: what is written comes back, from each of them.
            connection.execute("UPDATE accounts SET balance = balance + 1")
            assert connection.execute("SELECT sum(balance - 100) FROM accounts").fetchone() == (
                len(self.rows),
            )
            connection.rollback()


def _take_snapshots(service: Service) -> tuple[str, list[tuple[Any, ...]]]:
    """A snapshot of a coordinator and two data nodes, with writes before and after; and its rows."""
    cluster = service.create_cluster("sales", 2)
    fill(service, cluster, 500)
    assert service.ended(service.request_snapshot(cluster, "early")) == "AVAILABLE"
    with service.log_in(cluster) as connection:
        connection.execute("UPDATE accounts SET pad = 'touched' WHERE id % 7 = 0")
        rows = connection.execute(ROWS).fetchall()
    snapshot = service.request_snapshot(cluster, "last-night")
    assert service.ended(snapshot) == "AVAILABLE"
    with service.log_in(cluster) as connection:
        connection.execute("DELETE FROM accounts")
    return snapshot, rows


@pytest.fixture(scope="module")
def lost(data_root: Path) -> Iterator[Lost]:
    place = data_root / "drill"
    place.mkdir(mode=0o755)
    bucket, other, safe = place / "bucket", place / "other", place / "safe"
    safe.mkdir()
    data, recovered = place / "data", place / "recovered"
    reader = Reader(
        data,
        place / "service.log",
        places={
            "s3://bucket/prefix": str(bucket),
            "s3://other/prefix": str(other),
            "/media/safe": str(safe),
            "/var/lib/recovered": str(recovered),
        },
    )
    with serving(data) as service:
        snapshot, rows = _take_snapshots(service)
        assert service.stop() == 0
        shutil.move(data / "repository", bucket)
        printed = reader.run(EXPORT)
        (key,) = re.findall(r"^key +([0-9a-f]{64})$", printed, re.MULTILINE)
        reader.run(COPY)
    assert not data.exists()
    # Typed in again, from paper.
    (safe / "kek").write_text(f"{key}\n")
    yield Lost(reader, snapshot, rows, recovered)
    if recovered.exists():
        destroy_clusters(recovered)


def _kill_when(command: list[str], reader: Reader, holds: Callable[[], bool]) -> None:
    """Start a command, and kill it in the midst of something."""
    with subprocess.Popen(
        command,
        env=reader.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while not holds():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)


def test_a_snapshot_comes_back_by_the_bucket_and_the_key_alone(lost: Lost) -> None:
    reader = lost.reader
    reader.run(PLACES)
    looked = reader.run(LOOK)
    assert "opens every cluster: 1 in the repository" in looked
    assert re.search(rf"^{lost.snapshot} .* last-night  of sales .* 3 nodes, PostgreSQL 18$", looked, re.M)

    # Whoever was killed in the copy and again in the recovery simply calls again.
    again = [*COMMAND, "repo", "restore", "--snapshot", "last-night", "--into", str(lost.recovered)]
    _kill_when(again, reader, lambda: any(lost.recovered.glob("clusters/*/*/pgdata.restoring/base")))
    _kill_when(again, reader, lambda: any(lost.recovered.glob("clusters/*/*/pgdata/postmaster.pid")))

    told = reader.run(RESTORE, {"SNAPSHOT": "last-night"})
    found = re.search(r"psql -h (\S+) -p (\d+) -U dbadmin gaussdb", told)
    assert found is not None, told
    host, port = found.groups()
    if shutil.which("psql"):
        assert "accounts" in reader.run(LOG_IN, {"YOUR_PASSWORD": PASSWORD, "HOST": host, "PORT": port})
    lost.check_rows(host, int(port))
    assert {path.name for path in lost.recovered.glob("clusters/*/*") if path.is_dir()} == {
        "cn",
        "dn1",
        "dn2",
    }

    assert "are stopped" in reader.run(STOP, {"SNAPSHOT": "last-night"})
    assert servers_below(lost.recovered) == []


def test_a_directory_that_is_anything_elses_is_not_touched(lost: Lost, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    for into in (tmp_path, tmp_path / "precious", lost.recovered):
        before = sorted(into.iterdir()) if into.is_dir() else []
        done = _repo(lost.reader, "restore", "--snapshot", "early", "--into", str(into))
        assert done.returncode == 1
        assert "hint: restore into a directory of its own" in done.stderr
        assert (sorted(into.iterdir()) if into.is_dir() else []) == before
    assert (tmp_path / "precious").read_text() == "data"


def test_one_nodes_files_are_rebuilt_and_never_opened(lost: Lost) -> None:
    into = lost.recovered.with_name("one")
    common = ["restore", "--snapshot", lost.snapshot, "--node", "dn2", "--into", str(into)]
    refused = _repo(lost.reader, *common, "--start")
    assert "files alone cannot be started" in refused.stderr
    told = json.loads(_repo(lost.reader, *common, "--json").stdout)
    assert (told["opened"], told["running"], [node["name"] for node in told["nodes"]]) == (
        False,
        False,
        ["dn2"],
    )
    home = Path(told["nodes"][0]["directory"])
    assert (home / "pgdata" / "backup_label").exists() and (home / "pgdata" / "recovery.signal").exists()
    assert sorted(path.name for path in home.parent.iterdir() if path.is_dir()) == ["dn2"]
    assert servers_below(into) == []
    unknown = _repo(lost.reader, "restore", "--snapshot", "never", "--into", str(into.with_name("never")))
    assert unknown.returncode == 1 and "no snapshot never" in unknown.stderr


def test_the_service_comes_back_from_the_second_repository(lost: Lost) -> None:
    reader = lost.reader
    reader.run(OTHER_PLACES)
    assert "opens every cluster: 1 in the repository" in reader.run(LOOK)
    assert PROJECT in reader.run(REBUILD)
    with reader.serving(SERVE), httpx.Client(timeout=60) as http:
        key = json.loads(reader.run(KEY, {"PROJECT": PROJECT}))
        caller = SignedClient(f"http://{reader.address}", PROJECT, key["access_key"], key["secret_key"], http)
        assert caller.request("GET", "/v1.0/{p}/clusters").json["clusters"] == []
        listed = caller.request("GET", "/v1.0/{p}/snapshots").json["snapshots"]
        assert [(one["name"], one["status"]) for one in listed] == [
            ("last-night", "AVAILABLE"),
            ("early", "AVAILABLE"),
        ]
        detail = caller.request("GET", f"/v1.0/{{p}}/snapshots/{lost.snapshot}").json["snapshot"]
        assert (detail["cluster_name"], detail["progress"]) == ("sales", "100%")

        given = {
            "ACCESS_KEY": key["access_key"],
            "SECRET_KEY": key["secret_key"],
            "PROJECT": PROJECT,
            "SNAPSHOT_ID": lost.snapshot,
        }
        cluster = reader.run(RESTORE_BY_API, given).strip()

        def shown() -> dict[str, Any]:
            found: dict[str, Any] = caller.request("GET", f"/v1.0/{{p}}/clusters/{cluster}").json["cluster"]
            assert found["status"] in ("CREATING", "AVAILABLE"), reader.said
            return found

        until("the cluster", lambda: bool(shown()["status"] == "AVAILABLE"))
        host, port = shown()["endpoints"][0]["connect_info"].split(":")
        lost.check_rows(host, int(port))


def test_every_block_is_run() -> None:
    text = Path(__file__).read_text()
    names = re.findall(r"^    ([A-Z_]+),$", text, re.MULTILINE)
    assert len(names) == len(BLOCKS)
    assert [name for name in names if not re.search(rf"\b(run|serving)\({name}\b", text)] == []


def _repo(reader: Reader, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "repo", *arguments],
        env=reader.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
