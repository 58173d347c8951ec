"""What the first version wrote is read for ever: by this program, and by a reader made from the document alone."""

import base64
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from blake3 import blake3

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.reports.damage import FileTouched, NodeTouched, SnapshotTouched
from stillhouse.node.restore.rebuild import RestoreTask, restore
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, open_keys
from stillhouse.repository.format.container import Container
from stillhouse.repository.format.id_table import expand
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import collection_marks, findings, pins, reach_facts, roots
from stillhouse.repository.upkeep.copy import End, copy_snapshots
from stillhouse.repository.upkeep.inventory import server_versions, take_inventory
from stillhouse.storage.local import LocalStore
from support.repositories import repository_reader

REPOSITORIES = Path(__file__).parent / "repository"
GOLDEN = REPOSITORIES / "v1"
KEK = bytes(range(32))
CLUSTER = "6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4"
SNAPSHOT = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b001"
SECOND = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b003"
BURIED = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b002"
SEGMENT = "000000020000000000000001"
WAL = b"W" * 300_000 + bytes((1 << 20) - 300_000)

# What a restore adds to the source's files, or puts elsewhere.
LABEL = b"START WAL LOCATION: 0/100028\n"
CONTROL = b"control".ljust(8192, b"\0")

NODES = ("cn", "dn1")


@dataclass(frozen=True)
class Golden:
    """A repository as it was written, and the snapshot in it. `others` are lines that readers do not know."""

    name: str
    snapshot: str
    others: list[str]

    @property
    def home(self) -> Path:
        return REPOSITORIES / self.name

    def expected(self, node: str) -> dict[str, tuple[int, int, str]]:
        written: dict[str, Any] = json.loads((self.home / "expected.json").read_text())
        return {os.fsdecode(unquote_to_bytes(path)): tuple(facts) for path, facts in written[node].items()}


V1 = Golden("v1", SNAPSHOT, ["later"])
only_v1 = pytest.mark.parametrize("golden", [V1], indirect=True, ids=["v1"])


V1_TAGS = Golden("v1-tags", SNAPSHOT, ["later"])


@pytest.fixture(params=[V1, Golden("v1-incremental", SECOND, ["later"]), V1_TAGS], ids=lambda one: one.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    found: Golden = request.param
    return found


@pytest.fixture
def store(tmp_path: Path, golden: Golden) -> LocalStore:
    shutil.copytree(golden.home / "objects", tmp_path / "objects")
    return LocalStore(tmp_path / "objects", SystemClock())


@pytest.fixture
def keys(store: LocalStore) -> ClusterKeys:
    return open_keys(store, Kek(KEK), CLUSTER)


@pytest.fixture
def reader(golden: Golden) -> repository_reader.Repository:
    return repository_reader.Repository(golden.home / "objects", KEK, CLUSTER)


def opened(content: bytes, key: str, keys: ClusterKeys) -> Container:
    return Container(key, keys, content, lambda at, length: content[at : at + length], len(content))


def facts(content: bytes, mode: int) -> tuple[int, int, str]:
    return len(content), mode & 0o7777, blake3(content).hexdigest()


@pytest.mark.parametrize("name", NODES)
def test_this_version_restores_it_byte_for_byte(
    golden: Golden, store: LocalStore, keys: ClusterKeys, tmp_path: Path, name: str
) -> None:
    root = roots.read(store, keys, golden.snapshot)
    assert root is not None and root.name == "golden"
    named = root.node(name)
    home = tmp_path / name
    node = Node("id", name, Role.CN, "127.0.0.1", 8000, str(home), str(home))
    task = RestoreTask(node, named.stored, 0, None, 2)
    restored = restore(task, store, keys, lambda done: None)
    assert restored.files == len(golden.expected(name)) + 2
    pgdata = home / "pgdata"
    found = {
        os.path.relpath(Path(directory, file), pgdata): Path(directory, file)
        for directory, _, files in os.walk(pgdata, followlinks=True)
        for file in files
    }
    own = {
        "global/pg_control": CONTROL,
        "backup_label": LABEL,
        "recovery.signal": b"",
        f"pg_wal/{SEGMENT}": WAL,
    }
    for path, content in own.items():
        assert found.pop(path).read_bytes() == content
    assert found.pop("tablespace_map").read_text() == f"16500 {home}/tablespaces/16500\n"
    assert {path: facts(f.read_bytes(), f.stat().st_mode) for path, f in found.items()} == golden.expected(
        name
    )
    assert (pgdata / "pg_xact").stat().st_mode & 0o7777 == 0o750
    assert (pgdata / "pg_twophase").is_dir()


@pytest.mark.parametrize("name", NODES)
def test_a_reader_made_from_the_document_yields_the_same(
    golden: Golden, reader: repository_reader.Repository, name: str
) -> None:
    root = reader.root(golden.snapshot)
    assert root is not None
    node = reader.node(next(named for named in root["nodes"] if named["name"] == name))
    assert node.files.pop("global/pg_control") == CONTROL
    assert node.files.pop("@backup/backup_label") == LABEL
    assert {
        path: facts(content, node.modes[path]) for path, content in node.files.items()
    } == golden.expected(name)
    assert node.wal == {SEGMENT: WAL}
    assert node.rotten == [("base/5/16384", 3)]
    assert [line["t"] for line in node.others] == golden.others
    assert node.links.keys() == {16500}
    assert node.directories["pg_xact"] == 0o750
    assert node.head["node"] == name


def test_a_copy_of_it_holds_the_same_under_another_key(
    golden: Golden, store: LocalStore, tmp_path: Path
) -> None:
    inventory = take_inventory(store, Kek(KEK))
    second, other = LocalStore(tmp_path / "second", SystemClock()), Kek(bytes(reversed(KEK)))
    (outcome,) = copy_snapshots(
        End(store, Kek(KEK), "first"),
        End(second, other, "second"),
        inventory.snapshots,
        workers=2,
        clock=SystemClock(),
        new_bar=lambda name, total: lambda done: None,
    )
    assert (outcome.state, inventory.unreadable) == ("copied", [])
    reader = repository_reader.Repository(tmp_path / "second", other.secret, CLUSTER)
    root = reader.root(golden.snapshot)
    assert root is not None
    for named in root["nodes"]:
        node = reader.node(named)
        del node.files["global/pg_control"], node.files["@backup/backup_label"]
        assert {
            path: facts(content, node.modes[path]) for path, content in node.files.items()
        } == golden.expected(named["name"])
        assert node.wal == {SEGMENT: WAL}


@only_v1
def test_a_tombstone_is_no_snapshot(
    store: LocalStore, keys: ClusterKeys, reader: repository_reader.Repository
) -> None:
    assert roots.read(store, keys, BURIED) is None
    assert reader.root(BURIED) is None
    buried = {"snapshot": BURIED, "attempt": 3, "reason": "cancelled", "time": "2026-01-01T00:00:00Z"}
    assert reader.sealed(f"roots/{BURIED}") == buried


@only_v1
def test_a_trash_mark_names_its_snapshot(reader: repository_reader.Repository) -> None:
    assert reader.sealed(f"trash/{SNAPSHOT}") == {"snapshot": SNAPSHOT, "time": "2026-01-02T00:00:00Z"}


@only_v1
def test_the_inventory_of_it_knows_the_trash_and_the_tombstone(store: LocalStore) -> None:
    inventory = take_inventory(store, Kek(KEK))
    (found,) = inventory.snapshots
    assert (found.id, found.name, found.trashed) == (SNAPSHOT, "golden", "2026-01-02T00:00:00Z")
    assert (inventory.buried, inventory.unreadable) == (1, [])
    assert server_versions(store, Kek(KEK), [found]) == {SNAPSHOT: 18}


@only_v1
def test_both_generations_of_keys_are_in_use(keys: ClusterKeys) -> None:
    generations = {path.read_bytes()[12] for path in (GOLDEN / "objects" / "c" / CLUSTER / "packs").iterdir()}
    assert generations == set(keys.generations) == {1, 2}


@pytest.mark.parametrize(
    ("golden", "kinds"), [(V1, {1, 2}), (V1_TAGS, {2, 3})], indirect=["golden"], ids=["v1", "v1-tags"]
)
def test_frames_of_pages_are_of_the_kind_that_was_written_then(
    golden: Golden, store: LocalStore, keys: ClusterKeys, kinds: set[int]
) -> None:
    found = set()
    for pack in store.list(f"c/{CLUSTER}/packs"):
        found |= {frame.kind for frame in opened(store.get(pack.key), pack.key, keys).frames}
    assert found == kinds


def test_a_pin_and_a_mark_are_read_by_both(tmp_path: Path) -> None:
    home = tmp_path / "objects"
    shutil.copytree(REPOSITORIES / "v1-collection" / "objects", home)
    by_document = repository_reader.Repository(home, KEK, CLUSTER)
    store = LocalStore(home, SystemClock())
    keys = open_keys(store, Kek(KEK), CLUSTER)
    (pin_file,), (mark_file,) = (
        list((home / "c" / CLUSTER / folder).iterdir()) for folder in ("pins", "marks")
    )
    pinned, unreachable = "2026-01-03T04:05:06+00:00", [f"packs/{'0' * 32}", f"maps/{'1' * 32}"]
    base = {"node": "cn", "manifest": "0" * 32, "size": 1234, "hash": "ab" * 32}
    assert by_document.sealed(f"pins/{pin_file.name}") == {
        "work": "capture",
        "snapshot": SNAPSHOT,
        "attempt": 2,
        "bases": [base],
        "started": pinned,
        "heartbeat": "2026-01-03T04:06:06+00:00",
    }
    assert by_document.mark(f"marks/{mark_file.name}") == [
        {"key": unreachable[0], "since": None},
        {"key": unreachable[1], "since": pinned},
    ]
    pin = pins.find(store, keys, pin_file.name)
    assert pin is not None and pin.started.isoformat() == pinned
    assert pin.bases == (pins.PinnedBase("cn", Stored("0" * 32, 1234, "ab" * 32)),)
    mark = collection_marks.read(store, keys, f"c/{CLUSTER}/marks/{mark_file.name}")
    assert list(mark) == [(unreachable[0], None), (unreachable[1], pin.started)]


def test_records_of_findings_are_read_by_both(tmp_path: Path) -> None:
    home = tmp_path / "objects"
    shutil.copytree(REPOSITORIES / "v1-findings" / "objects", home)
    by_document = repository_reader.Repository(home, KEK, CLUSTER)
    records = [
        by_document.mark(f"findings/{one.name}") for one in (home / "c" / CLUSTER / "findings").iterdir()
    ]
    met, worked_out = sorted(records, key=len)
    assert met[0] | {"id": None} == {
        "t": "findings",
        "format": 1,
        "replaces": [],
        "worked_out": False,
        "id": None,
    }
    (replaced,) = worked_out[0]["replaces"]
    assert (home / "c" / CLUSTER / "findings" / replaced).exists() and worked_out[0]["worked_out"] is True
    pack, gone = worked_out[1:3]
    assert (
        pack
        == met[1]
        == {
            "t": "fault",
            "key": f"packs/{'0' * 32}",
            "kind": "altered",
            "detail": "2 of 9 frames do not open",
            "lost": [3, 5],
            "found": "2026-01-03T04:05:06+00:00",
        }
    )
    assert (gone["lost"], gone["found"]) == (None, "2026-01-04T04:05:06+00:00")
    assert [(line["snapshot"], line["node"]) for line in worked_out[3:]] == [
        (SNAPSHOT, "cn"),
        (SNAPSHOT, "dn1"),
        (SECOND, None),
    ]
    store = LocalStore(home, SystemClock())
    known = findings.read(store, open_keys(store, Kek(KEK), CLUSTER))
    assert known.keys == {f"c/{CLUSTER}/packs/{'0' * 32}", f"c/{CLUSTER}/maps/{'1' * 32}"}
    assert known.is_worked_out and known.replaced == (replaced,)
    files = (FileTouched("base/5/16384", ((0, 7), (9, 9))), FileTouched("odd\udcffname", bytes=((0, 99),)))
    assert known.losses == (
        SnapshotTouched(SNAPSHOT, "golden", (NodeTouched("cn", files), NodeTouched("dn1", None))),
        SnapshotTouched(SECOND, "", None),
    )


def test_a_segment_of_reach_is_read_by_both(tmp_path: Path) -> None:
    home = tmp_path / "objects"
    shutil.copytree(REPOSITORIES / "v1-reach" / "objects", home)
    (segment,) = (home / "c" / CLUSTER / "reach").iterdir()
    lines = repository_reader.Repository(home, KEK, CLUSTER).mark(f"reach/{segment.name}")
    time = "2026-01-03T04:05:06+00:00"
    ids = [base64.b64decode(line["ids"]).hex() for line in lines[1:3]]
    assert lines[0] == {"t": "reach", "format": 1, "whole": time}
    assert ids == ["".join(f"{number:032x}" for number in (1, 2, 3, 4, 256)), "f" * 32]
    packed = bytes(16) + (1234).to_bytes(8, "little") + b"\xab" * 32
    assert lines[3:] == [
        {"t": "root", "snapshot": SNAPSHOT, "size": 900, "modified": time, "tag": '"etag"', "name": "golden"}
        | {"manifests": base64.b64encode(packed).decode()},
        {
            "t": "root",
            "snapshot": BURIED,
            "size": 500,
            "modified": time,
            "tag": "",
            "name": "",
            "manifests": None,
        },
        {"t": "manifest", "id": "0" * 32, "hash": "ab" * 32, "packs": [0, 3], "maps": [0, 1]},
        {"t": "manifest", "id": "1" * 32, "hash": "cd" * 32, "packs": [0, 5], "maps": []},
        {"t": "end", "roots": 2, "manifests": 2},
    ]
    store = LocalStore(home, SystemClock())
    keys, key, facts = (
        open_keys(store, Kek(KEK), CLUSTER),
        f"c/{CLUSTER}/reach/{segment.name}",
        reach_facts.Facts(),
    )
    found = reach_facts.decode(key, opened(store.get(key), key, keys), facts)
    live, buried = found.roots.values()
    assert live.manifests == (Stored("0" * 32, 1234, "ab" * 32),) and buried.manifests is None
    first = facts.packs.ids(expand(found.manifests["0" * 32].packs)).tobytes().hex()
    assert first == "".join(f"{number:032x}" for number in (1, 2, 3))
