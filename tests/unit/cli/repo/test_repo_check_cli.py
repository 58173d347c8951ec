"""`stillhouse repo check`, `verify` and `stats`: their answers, in words and as JSON, and their exit codes."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stillhouse.cli.main import app
from stillhouse.cli.repo import report
from stillhouse.domain.reports.damage import FileTouched, NodeTouched, SnapshotTouched
from stillhouse.repository.check.damage import Damage
from support.repositories import aged_repository
from support.repositories.aged_repository import KEK, Aged


@dataclass(frozen=True)
class Bucket:
    """A repository in a directory, and the key to it."""

    aged: Aged
    place: Path

    def path(self, key: str) -> Path:
        return self.place / "objects" / key

    def arguments(self, command: str, *more: str) -> list[str]:
        where = ["--repository", str(self.place / "objects"), "--kek-file", str(self.place / "kek")]
        return ["repo", command, *where, *more]


@pytest.fixture(scope="module")
def aged() -> Aged:
    return aged_repository.make(3)


@pytest.fixture
def bucket(aged: Aged, tmp_path: Path) -> Bucket:
    for key, (content, _) in aged.store.objects.items():
        path = tmp_path / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "kek").write_text(KEK.secret.hex())
    return Bucket(aged, tmp_path)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(command: str, *more: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            app(bucket.arguments(command, *more))
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


def damage_a_frame(bucket: Bucket) -> tuple[str, str]:
    """Flip a bit in the first frame of a pack of the first cluster; the cluster and the pack's key."""
    cluster = bucket.aged.clusters[0]
    key = min(key for key in bucket.aged.store.objects if key.startswith(f"c/{cluster}/packs/"))
    content = bytearray(bucket.path(key).read_bytes())
    content[100] ^= 1
    bucket.path(key).write_bytes(content)
    return cluster, key


def test_a_sound_repository_ends_with_0(run: Run, bucket: Bucket) -> None:
    assert run("check") == (0, run("check")[1])
    assert run("check")[1].endswith("no damage found\n")
    code, said = run("verify", "--json")
    told = json.loads(said)
    assert code == 0 and told["damages"] == 0
    assert [one["cluster"] for one in told["clusters"]] == sorted(bucket.aged.clusters)
    for one in told["clusters"]:
        assert one["packs_read"] == one["packs"] > 10 and one["bytes_read"] > 0
        assert len(one["snapshots"]) == 3 and one["notices"] == []


def test_damage_ends_with_3_and_is_named(run: Run, bucket: Bucket) -> None:
    cluster, key = damage_a_frame(bucket)
    assert run("check")[0] == 0, "frames are not read by a check"
    code, said = run("verify", "--json")
    (damage,) = [damage for one in json.loads(said)["clusters"] for damage in one["damages"]]
    assert code == 3 and damage["kind"] == "altered" and damage["key"] == key
    for snapshot in damage["touches"]:
        assert snapshot["snapshot"] in bucket.aged.snapshots[cluster] and snapshot["name"]
        for file in (file for node in snapshot["nodes"] for file in node["files"]):
            assert {"blocks", "bytes"} & file.keys()
            if file["path"].startswith("base/5/16"):
                assert file["database"] == 5 and file["path"].startswith(f"base/5/{file['relation']}")
    code, said = run("verify", "--cluster", cluster)
    assert code == 3 and f"DAMAGE (altered): {key} 1 of " in said
    assert run("verify", "--cluster", bucket.aged.clusters[1])[0] == 0


def test_a_sample_reads_a_share_of_the_packs(run: Run, bucket: Bucket) -> None:
    cluster = bucket.aged.clusters[0]

    def read(*options: str) -> tuple[int, int]:
        (one,) = json.loads(run("verify", "--cluster", cluster, "--json", *options)[1])["clusters"]
        return one["packs_read"], one["packs"]

    count, packs = read("--sample", "25")
    assert count == -(-packs // 4)
    newest, _ = read("--newest")
    assert 0 < newest < packs
    scrubbed = {path.name for path in bucket.path(f"c/{cluster}/scrubs").iterdir()}
    assert len(scrubbed) == 2


def test_overdue_packs_are_told(run: Run, bucket: Bucket) -> None:
    told = json.loads(run("check", "--max-age-days", "0", "--json")[1])
    assert all(
        len(snapshot["overdue_packs"]) == snapshot["packs"] and snapshot["oldest_scrub"]
        for one in told["clusters"]
        for snapshot in one["snapshots"]
    )


def test_figures_are_told_in_a_table_and_as_json(run: Run, bucket: Bucket) -> None:
    code, said = run("stats", "--json")
    told: dict[str, Any] = json.loads(said)
    assert code == 0 and told["total"]["snapshots"] == 6
    assert told["total"]["stored"] == sum(one["stored"] for one in told["clusters"]) > 0
    code, said = run("stats")
    assert code == 0
    for ids in bucket.aged.snapshots.values():
        assert all(snapshot in said for snapshot in ids)
    assert "nightly-1 (trash)" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cluster", "00000000-0000-4000-8000-000000000000"], "holds nothing of cluster"),
        (["--sample", "0"], "--sample"),
        (["--kek-file", "{other}"], "another KEK"),
    ],
)
def test_errors_of_the_command_end_with_1(bucket: Bucket, options: list[str], said: str) -> None:
    other = bucket.place / "other-kek"
    other.write_text("ab" * 32)
    asked = bucket.arguments("verify")
    for name, value in zip(options[::2], options[1::2], strict=True):
        asked = asked[:4] if name == "--kek-file" else asked
        asked += [name, value.format(other=other)]
    done = subprocess.run(
        [sys.executable, "-m", "stillhouse", *asked], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1 and said in done.stderr and done.stdout == ""


def test_words_name_relations_and_ranges() -> None:
    files = (
        FileTouched("base/5/16384.1", blocks=((0, 2), (7, 7))),
        FileTouched("pg_xact/0000", bytes=((0, 8191),)),
        FileTouched("global/odd\nname"),
    )
    touches = (
        SnapshotTouched("s1", "nightly", (NodeTouched("cn", files), NodeTouched("dn1", None))),
        SnapshotTouched("s2", "", None),
    )
    said = list(report._damage_words(Damage("altered", "c/x/packs/y", "does not open", touches)))
    assert said == [
        "  DAMAGE (altered): c/x/packs/y does not open",
        "    snapshot s1 nightly: node cn, 3 files:",
        "      base/5/16384.1 (database 5, relation 16384): blocks 0-2, 7",
        "      pg_xact/0000: bytes 0-8191",
        "      global/odd%0Aname: all of it",
        "    snapshot s1 nightly: node dn1 is lost",
        "    snapshot s2: lost",
    ]


def test_the_commands_of_the_document_do_what_it_says(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[4] / "docs" / "repository.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    own = (("/var/lib/stillhouse/repository", "objects"), ("/var/lib/stillhouse/kek", "kek"))
    for line in lines:
        for theirs, name in own:
            assert theirs in line
            line = line.replace(theirs, str(bucket.place / name))
        program, *tokens = shlex.split(line)
        assert program == ".venv/bin/stillhouse"
        with pytest.raises(SystemExit) as ended:
            app(tokens)
        assert not ended.value.code, capsys.readouterr()
    assert {line.split()[2] for line in lines} == {"check", "verify", "stats"}
