"""How the golden repositories were made: `python make.py DIRECTORY` writes others of today's format there.

It is run once per version of the format. What it wrote is never written again: later programs must read it.
`v1-tags` is what it wrote as `v1` when frames of pages had become of kind 3.
"""

import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from blake3 import blake3

from stillhouse.clock import SystemClock
from stillhouse.domain.page_choice import Changed
from stillhouse.domain.reports.damage import FileTouched, NodeTouched, SnapshotTouched
from stillhouse.domain.throttle import Care
from stillhouse.node.capture.base import Base, Source
from stillhouse.node.capture.copying import Copy
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.pack_writer import PackWriter
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.wal.backup import Facts
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format import cipher_keys as repository_keys
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import KEY_BYTES, ClusterKeys, Kek
from stillhouse.repository.format.container import Kind
from stillhouse.repository.format.id_table import ids_of, runs_of
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import Extent, MapBuilder
from stillhouse.repository.format.root import Root, RootNode
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import collection_marks, findings, pins, reach_facts, roots
from stillhouse.repository.objects.faults import Fault
from stillhouse.repository.objects.pins import Pin, PinnedBase
from stillhouse.storage.local import LocalStore
from stillhouse.storage.store import ObjectStore
from support.repositories.crafted_lines import Line

KEK = bytes(range(32))
CLUSTER = "6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4"
SNAPSHOT = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b001"
SECOND = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b003"
BURIED = "0d6cba1e-54a7-4f0f-8a3e-d5a1c7a2b002"
PINNED = datetime(2026, 1, 3, 4, 5, 6, tzinfo=UTC)
PAGE, SEGMENT_BLOCKS, WAL_SEGMENT = 8192, 16, 1 << 20
FACTS = Facts(
    system_identifier=7_500_000_000_000_000_001,
    timeline=2,
    version_num=180006,
    control_version=1800,
    catalog_version=202506291,
    block_size=PAGE,
    segment_blocks=SEGMENT_BLOCKS,
    wal_segment_size=WAL_SEGMENT,
    checksum_version=0,
    wal_log_hints=False,
    postmaster_started="1",
    settings={"max_connections": "100"},
    extensions=[["postgres", "plpgsql", "1.0"]],
    collations=[["postgres", "c", "C.UTF-8", ""]],
    config_files={},
)


def tree(root: Path, tablespace: Path, seed: int) -> None:
    draw = random.Random(seed)

    def page() -> bytes:
        return draw.choice([bytes(PAGE), b"row %04d " % draw.randrange(10_000) * 1024])[:PAGE].ljust(
            PAGE, b"\0"
        )

    for name in ("base/5", "global", "pg_tblspc", "pg_wal", "pg_xact", "pg_twophase"):
        (root / name).mkdir(parents=True)
    (tablespace / "PG_18_202506291/5").mkdir(parents=True)
    (root / "pg_tblspc/16500").symlink_to(tablespace)
    whole = b"".join(page() for _ in range(SEGMENT_BLOCKS))
    files = {
        "base/5/16384": whole,
        "base/5/16384.1": b"".join(page() for _ in range(5)),
        "base/5/16384_fsm": bytes(3 * PAGE),
        "base/5/16385": b"",
        "base/5/16386": draw.randbytes(PAGE + 100),  # of odd size
        "base/5/16387": draw.randbytes(2 * PAGE),  # does not compress
        "base/5/16388_init": page(),
        "base/5/PG_VERSION": b"18\n",
        "pg_xact/0000": b"U" * 8192,
        "pg_xact/ BIG": b"a line of a file longer than a frame\n" * 32_000,
        "pg_tblspc/16500/PG_18_202506291/5/16600": b"".join(page() for _ in range(3)),
        "postgresql.conf": b"# gr\xc3\xb6\xc3\x9fe\n",
        "empty": b"",
    }
    for path, content in files.items():
        (root / path).write_bytes(content)
    (root / os.fsdecode(b"odd\xffname")).write_bytes(b"not UTF-8")
    (root / "postgresql.conf").chmod(0o640)
    (root / "pg_xact").chmod(0o750)


def alter(root: Path, tablespace: Path) -> Changes:
    """What a server may do between two snapshots, and what its WAL summaries would say of it."""
    changes = Changes()

    def write(path: Path, page: int, content: bytes) -> None:
        with path.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(content.ljust(PAGE, b"\0"))

    write(root / "base/5/16384", 5, b"changed" * 1000)
    write(root / "base/5/16384", 6, b"")
    write(root / "base/5/16384.1", 2, b"changed too" * 700)
    changes.add(1663, 5, 16384, Changed(None, np.array([5, 6, SEGMENT_BLOCKS + 2], np.uint32)))
    os.truncate(root / "base/5/16387", PAGE)
    changes.add(1663, 5, 16387, Changed(1, np.empty(0, np.uint32)))
    write(tablespace / "PG_18_202506291/5/16600", 3, b"grown" * 1000)
    changes.add(16500, 5, 16600, Changed(None, np.empty(0, np.uint32)))
    write(root / "base/5/16384_fsm", 1, b"not in the WAL" * 500)
    (root / "pg_xact/0000").write_bytes(b"V" * 8192)
    (root / "base/5/16390").write_bytes(b"made" * (PAGE // 4))
    return changes


def capture(
    home: Path, store: ObjectStore, keys: ClusterKeys, name: str, sources: Sequence[Source] = ()
) -> Stored:
    manifest, ledger = ManifestWriter(), PackLedger()
    reader, base = LocalReader(home, FACTS.tablespace_directory), Base(store, keys, PAGE, sources)
    copy = Copy(reader, FACTS, 1, store, keys, manifest, ledger, 2, base, Care())
    copy.run(lambda done: None)
    copy.add("global/pg_control", 0o600, b"control".ljust(8192, b"\0"))
    copy.add("@backup/backup_label", 0o600, b"START WAL LOCATION: 0/100028\n")
    copy.finish()
    writer, wal = PackWriter(store, keys, ledger.add), MapBuilder()
    frame = writer.add(b"W" * 300_000, Kind.BYTES)
    wal.add_bytes([Extent(frame, 0, 300_000), Extent(None, 0, WAL_SEGMENT - 300_000)])
    writer.finish()
    packs = ledger.ordinals(wal.packs)
    assert packs is not None
    stored = wal.store(store, keys)
    manifest.add_map(stored, packs, is_new=True)
    manifest.add(
        {"t": "wal", "path": "000000020000000000000001", "size": WAL_SEGMENT, "map": stored.id, "entry": 0}
    )
    if not sources:
        manifest.add({"t": "rotten", "path": "base/5/16384", "block": 3})
    later: Line = {"t": "later", "says": "a reader that does not know this line ignores it"}
    manifest.add(later)
    snapshot = SECOND if sources else SNAPSHOT
    node: Line = {
        "t": "node",
        "cluster": CLUSTER,
        "snapshot": snapshot,
        "node": name,
        "pg_version_num": 180006,
    }
    head = [node, *({"t": "pack", **asdict(pack)} for pack in ledger.packs.values())]
    result = manifest.store(store, keys, head, lambda line: line.get("path") == "empty")
    manifest.close()
    base.close()
    return result


def expected(home: Path) -> dict[str, list[Any]]:
    """Size, mode and BLAKE3 of each file, by its name: bytes that are not UTF-8 are percent-encoded."""
    return {
        quote(os.fsencode(entry.path), safe="/ "): [
            entry.size,
            entry.mode,
            blake3((home / entry.path).read_bytes()).hexdigest(),
        ]
        for entry in LocalReader(home, FACTS.tablespace_directory).list()
        if entry.size is not None and entry.path != "empty"
    }


def incremental(target: Path) -> None:
    """A snapshot and a second one that builds on it; the first is gone but for what the second needs."""
    store = LocalStore(target / "objects", SystemClock())
    keys = repository_keys.create_or_open(store, Kek(KEK), CLUSTER)
    nodes, trees = [], {}
    with tempfile.TemporaryDirectory() as place:
        for number, name in enumerate(("cn", "dn1")):
            home, tablespace = Path(place, name), Path(place, f"{name}.tablespace")
            tree(home, tablespace, number)
            first = capture(home, store, keys, name)
            stored = capture(home, store, keys, name, [Source(first, 1, alter(home, tablespace))])
            nodes.append(RootNode(name=name, manifest=stored.id, size=stored.size, hash=stored.hash))
            trees[name] = expected(home)
            store.delete(layout.manifest(CLUSTER, first.id))
    roots.publish(store, keys, Root(snapshot=SECOND, name="golden", nodes=tuple(nodes)), [])
    (target / "expected.json").write_text(json.dumps(trees, indent=1, sort_keys=True) + "\n")


def collection(target: Path) -> None:
    """What work under way and a collection leave: a pin and a mark."""
    store = LocalStore(target / "objects", SystemClock())
    keys = repository_keys.create_or_open(store, Kek(KEK), CLUSTER)
    base = PinnedBase("cn", Stored("0" * 32, 1234, "ab" * 32))
    pin = Pin(pins.id_of(SNAPSHOT, 2), pins.CAPTURE, SNAPSHOT, 2, (base,), PINNED)
    pins.put(store, keys, pin, PINNED + timedelta(minutes=1))
    collection_marks.store_mark(store, keys, [(f"packs/{'0' * 32}", None), (f"maps/{'1' * 32}", PINNED)])


def damaged(target: Path) -> None:
    """Record damage twice: as somebody met it, and then as a check has judged it."""
    store = LocalStore(target / "objects", SystemClock())
    keys = repository_keys.create_or_open(store, Kek(KEK), CLUSTER)
    pack = Fault(layout.pack(CLUSTER, "0" * 32), "altered", "2 of 9 frames do not open", frozenset({3, 5}))
    gone = Fault(layout.map_(CLUSTER, "1" * 32), "missing", "is gone")
    findings.note(store, keys, [pack], PINNED)
    files = (FileTouched("base/5/16384", ((0, 7), (9, 9))), FileTouched("odd\udcffname", bytes=((0, 99),)))
    lost = [
        SnapshotTouched(SNAPSHOT, "golden", (NodeTouched("cn", files), NodeTouched("dn1", None))),
        SnapshotTouched(SECOND, "", None),
    ]
    known = findings.read(store, keys)
    findings.replace(store, keys, known, [pack, gone], lost, PINNED + timedelta(days=1))


def learnt(target: Path) -> None:
    """Store the facts that a collection has read: of a root, a tombstone and a manifest."""
    store = LocalStore(target / "objects", SystemClock())
    keys = repository_keys.create_or_open(store, Kek(KEK), CLUSTER)
    facts = reach_facts.Facts(whole=PINNED)
    packs = facts.packs.ordinals(ids_of([f"{number:032x}" for number in (1, 2, 4, 3, 256)]))
    maps = facts.maps.ordinals(ids_of(["f" * 32]))
    manifests = (Stored("0" * 32, 1234, "ab" * 32),)
    live = reach_facts.RootKey(SNAPSHOT, 900, PINNED, '"etag"')
    facts.roots[live] = reach_facts.RootFact("golden", manifests)
    facts.roots[reach_facts.RootKey(BURIED, 500, PINNED, "")] = reach_facts.RootFact("", None)
    facts.manifests["0" * 32] = reach_facts.ManifestFact("ab" * 32, runs_of(packs[[0, 1, 3]]), runs_of(maps))
    facts.manifests["1" * 32] = reach_facts.ManifestFact("cd" * 32, runs_of(packs), runs_of(maps[:0]))
    reach_facts.store_segments(store, keys, facts)


def main(target: Path) -> None:
    store = LocalStore(target / "objects", SystemClock())
    kek = Kek(KEK)
    first = repository_keys.create_or_open(store, kek, CLUSTER)
    second = os.urandom(KEY_BYTES) + first.fingerprint_key
    sealed = repository_keys._seal(kek, CLUSTER, 2, second)
    nodes, trees = [], {}
    with tempfile.TemporaryDirectory() as place:
        for number, name in enumerate(("cn", "dn1")):
            home = Path(place, name)
            tree(home, Path(place, f"{name}.tablespace"), number)
            keys = repository_keys.open_keys(store, kek, CLUSTER)
            stored = capture(home, store, keys, name)
            nodes.append(RootNode(name=name, manifest=stored.id, size=stored.size, hash=stored.hash))
            trees[name] = expected(home)
            if number == 0:
                store.create(layout.keys(CLUSTER, 2, kek.id), [sealed])
    roots.publish(store, keys, Root(snapshot=SNAPSHOT, name="golden", nodes=tuple(nodes)), [])
    roots.bury(store, keys, BURIED, 3, "cancelled", "2026-01-01T00:00:00Z")
    roots.mark_trash(store, keys, SNAPSHOT, "2026-01-02T00:00:00Z")
    (target / "expected.json").write_text(json.dumps(trees, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1], "v1"))
    incremental(Path(sys.argv[1], "v1-incremental"))
    collection(Path(sys.argv[1], "v1-collection"))
    damaged(Path(sys.argv[1], "v1-findings"))
    learnt(Path(sys.argv[1], "v1-reach"))
