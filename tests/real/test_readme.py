"""The README's commands, run as they stand: against a service that its own command starts."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.api.client import SignedClient
from support.processes.reader import ROOT, Block, Reader, blocks_of, blocks_with, until

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("readme")]

BLOCKS = blocks_of(ROOT / "README.md")


def _blocks_with(words: str) -> list[Block]:
    return blocks_with(BLOCKS, words)


@pytest.fixture(scope="module")
def reader(data_root: Path) -> Iterator[Reader]:
    """With a data directory and an address of his own."""
    reader = Reader(data_root / "readme", data_root / "readme.log")
    (serve,) = _blocks_with("stillhouse serve")
    with reader.serving(serve):
        yield reader


def test_the_commands_lead_from_nothing_to_a_snapshot(reader: Reader) -> None:
    (make_key,), (point_sdk,) = _blocks_with("key create"), _blocks_with("export HUAWEICLOUD")
    (create_cluster,), (create_snapshot,) = (
        _blocks_with("CreateClusterRequest("),
        _blocks_with("create_snapshot.py"),
    )

    key = json.loads(reader.run(make_key))
    assert reader.run(point_sdk, {"ACCESS_KEY": key["access_key"], "SECRET_KEY": key["secret_key"]}) == ""
    cluster = reader.run(create_cluster).strip()

    with httpx.Client(timeout=60) as http:
        url = f"http://{reader.address}"
        caller = SignedClient(url, key["project_id"], key["access_key"], key["secret_key"], http)

        def has_become(kind: str, subject: str) -> bool:
            shown = caller.request("GET", f"/v1.0/{{p}}/{kind}s/{subject}").json[kind]
            assert shown["status"] in ("CREATING", "AVAILABLE"), reader.said
            return bool(shown["status"] == "AVAILABLE")

        until("the cluster", lambda: has_become("cluster", cluster))
        answer = reader.run(create_snapshot, {"CLUSTER_ID": cluster})
        snapshot = json.loads(answer)["snapshot"]["id"]
        until("the snapshot", lambda: has_become("snapshot", snapshot))

    (in_the_terminal,) = _blocks_with("snapshot create after-upgrade")
    printed = reader.run(in_the_terminal)
    assert "sales" in printed and "after-upgrade" in printed and "AVAILABLE" in printed


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
        "snapshot create after-upgrade",
        "cluster grants",  # by tests/real/test_demo.py, with a server of another account
    )
    for block in BLOCKS:
        if sum(words in block.text for words in run) != 1:
            for line in block.text.splitlines():
                assert re.fullmatch(
                    r"make (demo|demo EXISTING=1|test) +# .*|apt install make python3-venv", line
                ), line


def test_the_installer_names_the_packages_that_the_readme_names() -> None:
    """In place of a traceback where they are missing: here, where the program cannot make environments."""
    (first,) = _blocks_with("apt install")
    place = ["locks/install", "false", "unused", "locks/dev.lock"]
    without_uv = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(place, cwd=ROOT, capture_output=True, text=True, check=False, env=without_uv)
    assert (done.returncode, first.text.strip() in done.stderr) == (1, True), done.stderr


def test_the_demo_that_make_runs_is_the_one_that_is_tested() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "examples/demo.py" in done.stdout
    assert "pytest" in done.stdout
    assert '_EXAMPLES / "demo.py"' in (ROOT / "tests" / "real" / "test_demo.py").read_text()
