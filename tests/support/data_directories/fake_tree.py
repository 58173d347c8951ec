"""A data directory made by hand, captured and restored without a server."""

import random
from collections.abc import Collection, Sequence
from pathlib import Path

from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.throttle import Care
from stillhouse.node.capture.base import Base, Source
from stillhouse.node.capture.copying import Copy
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.packing_process import packing_crew
from stillhouse.node.restore.rebuild import Restored, RestoreTask, restore
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.wal.backup import Facts
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore
from support.repositories.crafted_lines import Line

PAGE = 8192
FACTS = Facts(
    system_identifier=7,
    timeline=1,
    version_num=180006,
    control_version=1800,
    catalog_version=202506291,
    block_size=PAGE,
    segment_blocks=131072,
    wal_segment_size=16 << 20,
    checksum_version=0,
    wal_log_hints=False,
    postmaster_started="1",
    settings={},
    extensions=[],
    collations=[],
    config_files={},
)


def make(root: Path, seed: int, small_files: int = 40) -> None:
    """Relations with zero pages, of odd sizes, empty ones; small files; empty directories."""
    draw = random.Random(seed)
    for directory in ("base/1", "base/5", "global", "pg_xact", "pg_wal", "pg_twophase"):
        (root / directory).mkdir(parents=True)
    for relation in range(16384, 16384 + 12):
        pages = [
            draw.choice([bytes(PAGE), draw.randbytes(PAGE), b"x" * PAGE]) for _ in range(draw.randrange(300))
        ]
        (root / f"base/1/{relation}").write_bytes(b"".join(pages))
    (root / "base/1/20000").write_bytes(bytes(PAGE * 3))
    (root / "base/1/20001").write_bytes(draw.randbytes(PAGE + 17))
    (root / "base/1/20002").write_bytes(b"")
    for number in range(small_files):
        (root / f"base/5/{30000 + number}").write_bytes(draw.randbytes(PAGE))
        (root / f"pg_xact/{number:04X}").write_bytes(draw.randbytes(draw.randrange(3000)))
    (root / "pg_xact/BIG").write_bytes(draw.randbytes(3 << 20))
    (root / "PG_VERSION").write_text("18\n")


def capture(
    root: Path,
    store: ObjectStore,
    keys: ClusterKeys,
    workers: int = 2,
    sources: Sequence[Source] = (),
    *,
    care: Care | None = None,
    in_processes: bool = False,
    damaged: Collection[str] = (),
    reads_all: bool = False,
) -> tuple[Stored, PackLedger, Copy]:
    manifest, ledger = ManifestWriter(), PackLedger()
    base = Base(store, keys, PAGE, sources, damaged, reads_all=reads_all)
    reader = LocalReader(root, FACTS.tablespace_directory)
    with packing_crew(workers if in_processes else 0) as crew:
        copy = Copy(reader, FACTS, 1, store, keys, manifest, ledger, workers, base, care or Care(), crew)
        copy.run(lambda done: None)
        copy.add("global/pg_control", 0o600, b"control" * 100)
        copy.finish()
    head: list[Line] = [{"t": "node", "pg_version_num": FACTS.version_num}]
    head += [
        {"t": "pack", "id": pack.id, "size": pack.size, "index": pack.index, "hash": pack.hash}
        for pack in ledger.packs.values()
    ]
    stored = manifest.store(store, keys, head, lambda line: False, drop_carried=False)
    manifest.close()
    base.close()
    return stored, ledger, copy


def rebuild(place: Path, stored: Stored, store: ObjectStore, keys: ClusterKeys) -> Restored:
    node = Node("n", "cn", Role.CN, "127.0.0.1", 8000, str(place), str(place))
    return restore(RestoreTask(node, stored, 0, None, 2), store, keys, lambda done: None)


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")
    }


def comes_back(home: Path, clone: Path, stored: Stored, store: ObjectStore, keys: ClusterKeys) -> bool:
    """Rebuild a capture into `clone`, and tell whether each file is as it is in `home` now."""
    rebuild(clone, stored, store, keys)
    return all(
        (clone / "pgdata" / path.relative_to(home)).read_bytes() == path.read_bytes()
        for path in home.rglob("*")
        if path.is_file()
    )
