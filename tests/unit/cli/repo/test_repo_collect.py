"""`stillhouse repo collect`: the bucket and the key alone, the plan in words or as JSON."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stillhouse.clock import SystemClock
from stillhouse.config import Settings
from stillhouse.domain.ids import new_uuid
from stillhouse.repository.format.cipher_keys import create_or_open, load_or_create_kek
from stillhouse.repository.objects import identity, roots
from stillhouse.storage.local import LocalStore
from support.repositories.tiny_captures import publish_one, store_pack

WEEKS = 14 * 86400
CLUSTER = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b001"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two clusters; of the first one snapshot was deleted two weeks ago, and one pack is nobody's."""
    place = tmp_path / "repository"
    store = LocalStore(place, SystemClock())
    identity.claim(store)
    kek, _ = load_or_create_kek(tmp_path / "kek")
    for cluster in (CLUSTER, new_uuid()):
        keys = create_or_open(store, kek, cluster)
        publish_one(store, keys)
    first = create_or_open(store, kek, CLUSTER)
    deleted, _ = publish_one(store, first)
    roots.mark_trash(store, first, deleted, "then")
    store_pack(store, first)
    return place


def age(repository: Path) -> None:
    """All that is there was stored weeks earlier."""
    for path in repository.rglob("*"):
        if path.is_file():
            os.utime(path, (path.stat().st_atime - WEEKS, path.stat().st_mtime - WEEKS))


def collect(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stillhouse", "repo", "collect", "--repository", str(repository)]
    kek = ["--kek-file", str(repository.with_name("kek"))]
    return subprocess.run([*command, *kek, *options], capture_output=True, text=True, check=False)


def test_a_dry_run_tells_of_each_object_and_touches_none(repository: Path) -> None:
    age(repository)
    before = sorted(repository.rglob("*"))
    done = collect(repository, "--dry-run", "--json")
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["dry_run"] is True and len(answer["clusters"]) == 2
    objects = answer["clusters"][CLUSTER]["objects"]
    verdicts = {one["verdict"] for one in objects}
    assert verdicts == {"keep", "mark", "purge", "delete"}
    assert all(one["why"] for one in objects)
    assert len(collect(repository, "--dry-run", "--cluster", CLUSTER).stdout.splitlines()) < 10
    words = collect(repository, "--dry-run", "--list", "--cluster", CLUSTER).stdout
    assert "unreachable from now on, goes at" in words
    assert "would be purged" in words
    assert [path for path in sorted(repository.rglob("*")) if "probe" not in path.parts] == before


def test_it_marks_then_removes_and_says_so(repository: Path) -> None:
    age(repository)
    first = json.loads(collect(repository, "--json").stdout)["clusters"][CLUSTER]
    assert (len(first["purged"]), first["marked"], first["stopped_by"]) == (1, 4, "")
    age(repository)
    words = collect(repository).stdout
    assert re.search(r"  5 objects \(.*\) deleted", words)
    assert json.loads(collect(repository, "--json").stdout)["clusters"][CLUSTER]["marked"] == 0


@pytest.mark.parametrize("said", ["--grace-days", "--trash-days", "STILLHOUSE_TRASH_DAYS"])
def test_no_days_in_the_trash_mean_the_same_however_they_are_said(
    repository: Path, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the service's setting: a deleted snapshot is purged now, and its objects stay as long as ever."""
    if said.startswith("--"):
        done = collect(repository, said, "0", "--json")
    else:
        monkeypatch.setenv(said, "0")
        assert Settings(data=repository).trash_days == 0
        done = collect(repository, "--json")
    found = json.loads(done.stdout)["clusters"][CLUSTER]
    assert (len(found["purged"]), found["deleted"]) == (1, 0)
    assert found["marked"] > 0
    packs = set(repository.glob(f"c/{CLUSTER}/packs/**/*"))
    assert collect(repository, *([said, "0"] if said.startswith("--") else [])).returncode == 0
    assert set(repository.glob(f"c/{CLUSTER}/packs/**/*")) == packs, "a listing may miss what reaches them"


def test_no_service_starts_with_fewer_than_no_days_in_the_trash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_TRASH_DAYS", "-1")
    with pytest.raises(ValueError, match="trash_days"):
        Settings(data=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--grace-days", "-1"], "at least 0"),
        (["--cluster", "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b009"], "nothing of cluster"),
    ],
)
def test_a_wrong_call_is_one_readable_line(repository: Path, options: list[str], said: str) -> None:
    done = collect(repository, *options)
    assert done.returncode == 1
    assert said in done.stderr and "Traceback" not in done.stderr
