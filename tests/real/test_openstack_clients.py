"""docs/clients.md, block by block, against a service: OpenStack's clients are told only an address and keys.

The clients come with pinned versions: Go's by `go.sum`, Python's by a lock file with hashes. Where there is no Go or
no registry, the test is skipped; where CI=true that is a failure.
"""

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from support.processes.reader import ROOT, Reader, blocks_of

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("clients"), pytest.mark.timeout(900)]

(
    SERVE,
    KEY,
    USER,
    EXPORT_SDK,
    LIST_BY_SDK,
    GOPHER,
    INSTALL_OPENSTACK,
    OPENSTACK,
    CURL,
    CURL_POST,
    TERRAFORM,
    TERRAFORM_OTC,
) = BLOCKS = blocks_of(ROOT / "docs" / "clients.md")
CLIENTS = ROOT / "tests" / "clients"
_SECONDS = 400.0


@dataclass
class Bed:
    """A reader with a service at work, a key and a user."""

    reader: Reader
    key: dict[str, str]
    password: str

    @property
    def keys(self) -> dict[str, str]:
        return {"YOUR_ACCESS_KEY": self.key["access_key"], "YOUR_SECRET_KEY": self.key["secret_key"]}


@pytest.fixture(scope="module")
def bed(data_root: Path) -> Iterator[Bed]:
    reader = Reader(data_root / "clients", data_root / "clients.log", seconds=_SECONDS)
    reader.places["/var/lib/openstack"] = str(data_root / "openstack")
    with reader.serving(SERVE):
        key, user = json.loads(reader.run(KEY)), json.loads(reader.run(USER))
        yield Bed(reader, key, user["password"])


def _unobtainable(what: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def gopher() -> None:
    """Its modules and what they compile to, in Go's own caches."""
    if shutil.which("go") is None:
        _unobtainable("not on this machine: go")
    where = CLIENTS / "gophertelekomcloud"
    fetched = subprocess.run(
        ["go", "mod", "download"], cwd=where, capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        _unobtainable(f"gophertelekomcloud cannot be had: {fetched.stderr[-500:]}")
    built = subprocess.run(["go", "vet", "."], cwd=where, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


@pytest.fixture(scope="module")
def openstack(bed: Bed) -> None:
    try:
        bed.reader.run(INSTALL_OPENSTACK)
    except AssertionError as error:
        _unobtainable(f"openstacksdk cannot be had: {str(error)[-500:]}")


def test_gophertelekomcloud_leads_a_cluster_from_its_making_to_its_end(bed: Bed, gopher: None) -> None:
    seen = json.loads(bed.reader.run(GOPHER, bed.keys))
    assert seen["got"]["status"] == "AVAILABLE" and seen["got"]["size"] > 0
    assert [one["id"] for one in seen["listed"]] == [seen["snapshot"]]
    assert seen["got"]["cluster_id"] == seen["cluster"] != seen["restored"]["id"]
    assert (seen["restored"]["name"], seen["restored"]["status"]) == ("by-gopher-copy", "AVAILABLE")
    assert (seen["clusters_left"], seen["snapshots_left"]) == (0, [])


def test_otcextensions_lead_a_cluster_from_its_making_to_its_end(bed: Bed, openstack: None) -> None:
    seen: dict[str, Any] = json.loads(bed.reader.run(OPENSTACK, {"YOUR_PASSWORD": bed.password}))
    assert seen["status"] == "AVAILABLE" and seen["size"] > 0
    assert seen["listed"] == seen["snapshot"] and seen["source"] == seen["cluster"] != seen["copy"]
    assert (seen["copy_name"], seen["copy_status"]) == ("by-openstack-copy", "AVAILABLE")
    assert (seen["clusters_left"], seen["snapshots_left"]) == ([], [])


def test_the_sdk_finds_its_project_and_curl_lists_by_token(bed: Bed) -> None:
    bed.reader.run(EXPORT_SDK, bed.keys)
    assert bed.reader.run(LIST_BY_SDK) == "0\n"
    assert json.loads(bed.reader.run(CURL, {"YOUR_PASSWORD": bed.password})) == {"snapshots": [], "count": 0}
    refusal = json.loads(bed.reader.run(CURL_POST, {"YOUR_CLUSTER_ID": str(uuid.uuid4())}))
    assert refusal["error_msg"].startswith("Cluster does not exist"), "all else was as it should be"


def test_only_terraform_s_blocks_are_not_run_and_the_versions_are_those_tried() -> None:
    assert [block for block in BLOCKS if block.language not in ("sh", "python")] == [TERRAFORM, TERRAFORM_OTC]
    page = (ROOT / "docs" / "clients.md").read_text()
    pins = (CLIENTS / "openstack" / "requirements.lock").read_text()
    for name in ("openstacksdk", "otcextensions"):
        (version,) = re.findall(rf"^{name}==([\d.]+)", pins, re.MULTILINE)
        assert f"{name} {version}" in page
    (version,) = re.findall(
        r"^huaweicloudsdkdws==([\d.]+)", (ROOT / "locks/dev.lock").read_text(), re.MULTILINE
    )
    assert f"Python {version}" in page
    (version,) = re.findall(r"<version>(3[\d.]+)<", (CLIENTS / "java" / "pom.xml").read_text())
    assert f"Java {version}" in page
    for module, words in (("go", "Go"), ("gophertelekomcloud", "gophertelekomcloud")):
        pinned = re.search(
            r"(?:sdk-go-v3|gophertelekomcloud) v([\d.]+)", (CLIENTS / module / "go.mod").read_text()
        )
        assert pinned and f"{words} {pinned[1]}" in page
