"""`stillhouse repo` as typed: what it prints, and what its exit code says."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stillhouse.cli.main import app
from stillhouse.clock import SystemClock
from stillhouse.domain.ids import new_uuid
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import open_keys, read_kek, write_kek
from stillhouse.repository.upkeep.inventory import take_inventory
from stillhouse.storage.local import LocalStore
from support.processes.service import COMMAND
from support.repositories.buckets import Bucket


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """With a snapshot; the environment names it, as an operator's does."""
    made = Bucket(tmp_path / "trees", LocalStore(tmp_path / "bucket", SystemClock()))
    write_kek(made.kek, tmp_path / "kek")
    monkeypatch.setenv("STILLHOUSE_REPOSITORY", str(tmp_path / "bucket"))
    monkeypatch.setenv("STILLHOUSE_KEK_FILE", str(tmp_path / "kek"))
    made.snapshot(new_uuid(), "first")
    return made


def cluster_of(bucket: Bucket) -> str:
    return take_inventory(bucket.store, bucket.kek).snapshots[0].cluster


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """In this process: for what is not refused."""
    code = 0
    try:
        app(["repo", *map(str, arguments)])
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code, printed = run(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(printed)


def refused(*arguments: object) -> str:
    done = subprocess.run(
        [*COMMAND, "repo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_exported_key_is_the_key(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    shown = told(capsys, "key", "export")
    assert shown == {"id": bucket.kek.id, "key": bucket.kek.secret.hex()}
    code, printed = run(capsys, "key", "export")
    assert code == 0 and bucket.kek.secret.hex() in printed
    assert "Keep it where the bucket is not" in printed
    assert sorted(tmp_path.rglob("*")) == before, "it writes nothing"

    copy = tmp_path / "safe"
    assert bucket.kek.secret.hex() not in run(capsys, "key", "export", "--to", copy)[1]
    assert read_kek(copy) == bucket.kek
    assert copy.stat().st_mode & 0o777 == 0o600
    copy.write_text("something else")
    assert "not overwritten" in refused("key", "export", "--to", copy)
    assert copy.read_text() == "something else"


def test_a_rotation_makes_the_new_key_and_ends_the_old_one(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    kept = told(capsys, "key", "rotate", "--new-kek-file", new, "--keep-old")
    assert (kept["clusters"], kept["wrapped"], kept["removed"]) == (1, 1, 0)
    assert run(capsys, "key", "check")[0] == 0
    code, printed = run(capsys, "key", "rotate", "--new-kek-file", new)
    assert code == 0 and read_kek(new).id in printed
    assert bucket.kek.secret.hex() not in printed and read_kek(new).secret.hex() not in printed
    code, printed = run(capsys, "key", "check")
    assert code == 1 and "does not open every cluster" in printed
    assert run(capsys, "key", "check", "--kek-file", new)[0] == 0
    made = told(capsys, "key", "new-generation", "--kek-file", new)
    assert made["generations"] == {cluster_of(Bucket(tmp_path, bucket.store, read_kek(new))): 2}


def test_snapshots_are_listed_and_what_is_damaged_is_told(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    (listed,) = told(capsys, "snapshots")["snapshots"]
    assert (listed["name"], listed["size"], listed["nodes"], listed["pg_major"], listed["trashed"]) == (
        "first",
        2000,
        ["cn", "dn1"],
        18,
        "",
    )
    cluster = cluster_of(bucket)
    second = bucket.snapshot(cluster, "second")
    bucket.store.put(layout.root(cluster, second["snapshot"]), [b"noise"])
    code, printed = run(capsys, "snapshots", "--cluster", cluster)
    assert code == 1
    assert "  first  of sales" in printed and f"cannot be read: c/{cluster}" in printed


def test_a_copy_says_what_it_moved_and_fails_by_its_exit_code(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("copy", "--to", tmp_path / "second", "--to-kek-file", tmp_path / "second-kek")
    (moved,) = told(capsys, *arguments, "--newest", 1)["snapshots"]
    assert moved["state"] == "copied" and moved["objects"] > 4
    second = LocalStore(tmp_path / "second", SystemClock())
    assert open_keys(second, read_kek(tmp_path / "second-kek"), cluster_of(bucket))
    code, printed = run(capsys, *arguments, "--all")
    assert code == 0 and "was there" in printed

    bad = bucket.snapshot(cluster_of(bucket), "bad")
    bucket.store.delete(layout.manifest(cluster_of(bucket), bad["nodes"][0]["manifest"]))
    code, printed = run(capsys, *arguments, "--all")
    assert code == 1 and "bad  NOT copied" in printed and bad["nodes"][0]["manifest"] in printed
    assert "say which snapshots" in refused(*arguments)
    assert "same repository" in refused(
        "copy", "--to", tmp_path / "bucket", "--to-kek-file", tmp_path / "kek", "--all"
    )


def test_shredding_wants_the_clusters_name(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = cluster_of(bucket)
    assert "is not named sale" in refused("shred", "--cluster", cluster, "--yes-i-am-sure", "sale")
    code, printed = run(capsys, "shred", "--cluster", cluster.upper(), "--yes-i-am-sure", "sales")
    assert code == 0 and "old versions" in printed
    assert list(bucket.store.list("c")) == []


def test_nothing_is_made_where_nothing_is(bucket: Bucket, tmp_path: Path) -> None:
    """A mistyped place must not become an empty repository, nor a mistyped key a new one."""
    before = sorted(tmp_path.iterdir())
    assert "no repository at" in refused("snapshots", "--repository", tmp_path / "nowhere")
    assert "no key-encryption key at" in refused("key", "export", "--kek-file", tmp_path / "nowhere")
    assert "no key-encryption key at" in refused("key", "check", "--kek-file", tmp_path / "nowhere")
    assert sorted(tmp_path.iterdir()) == before
