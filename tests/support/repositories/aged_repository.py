"""A repository with a past, made by the product's own captures from directories made by hand; no server is needed.

Two clusters of two nodes, of three snapshots each: whole, incremental, incremental. One snapshot is in the trash, one
failed, one was purged; there are a pin, what a dead attempt left behind, and in the first cluster two generations of
keys. Frames are of a few pages and packs of a few frames, so that one damage does not touch everything.
"""

import json
import os
import random
import secrets
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import numpy as np

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.object_kinds import Type
from stillhouse.domain.page_choice import Changed
from stillhouse.domain.throttle import Care
from stillhouse.node.capture import copying, deferred_writes, pack_writer, packing
from stillhouse.node.capture.base import Base, Source
from stillhouse.node.capture.copying import Copy
from stillhouse.node.capture.deferred_writes import PackLedger
from stillhouse.node.capture.pack_writer import PackWriter
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format import cipher_keys as repository_keys
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import KEY_BYTES, ClusterKeys, Kek
from stillhouse.repository.format.container import Kind
from stillhouse.repository.format.manifest import ManifestWriter
from stillhouse.repository.format.maps import Extent, MapBuilder
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import roots
from support.data_directories import fake_tree
from support.repositories.crafted_lines import Line
from support.stores.dict_store import DictStore

KEK = Kek(bytes(range(32)))
PAGE = 1024
NODES = ("cn", "dn1")
_TABLESPACE = "pg_tblspc/16500/PG_18_202506291/5"
_FRAME_PAGES, _PACK_FRAMES, _MAP_BYTES = 4, 7, 200
_FACTS = replace(fake_tree.FACTS, block_size=PAGE)


@dataclass
class Aged:
    """`snapshots` are those that can be restored, `base` -> `next`; by cluster."""

    store: DictStore
    clusters: tuple[str, ...]
    snapshots: dict[str, list[str]]
    trashed: dict[str, str]
    failed: dict[str, str]
    purged: dict[str, str]
    purged_root: dict[str, bytes]
    """What lay at the purged snapshot's key before: to be put back."""

    def keys(self, cluster: str) -> ClusterKeys:
        return repository_keys.open_keys(self.store, KEK, cluster)


def make(seed: int) -> Aged:
    draw = random.Random(seed)
    store = DictStore()
    with _small(draw):
        store.put("repository", [new_hex().encode()])
        aged = Aged(store, (new_uuid(), new_uuid()), {}, {}, {}, {}, {})
    for number, cluster in enumerate(aged.clusters):
        with tempfile.TemporaryDirectory() as place, _small(draw):
            _Cluster(aged, cluster, Path(place), draw).live(generations=2 - number)
    return aged


@contextmanager
def _small(draw: random.Random) -> Iterator[None]:
    """Frames, packs and maps of a few pages; ids and keys by the seed, and work in one order, so they come again."""
    with (
        patch.object(packing, "MAX_FRAME", _FRAME_PAGES * PAGE),
        patch.object(pack_writer, "PACK_FRAMES", _PACK_FRAMES),
        patch.object(deferred_writes, "_MAP_BYTES", _MAP_BYTES),
        patch.object(copying, "ThreadPoolExecutor", _AtOnce),
        patch.object(os, "urandom", draw.randbytes),
        patch.object(secrets, "token_hex", lambda count: draw.randbytes(count).hex()),
    ):
        yield


class _AtOnce:
    """An executor that does the work when it is asked to."""

    def __init__(self, workers: int, name: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *given: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*given))
        return done


class _Cluster:
    def __init__(self, aged: Aged, cluster: str, place: Path, draw: random.Random) -> None:
        self.aged, self.store, self.cluster, self.place, self.draw = aged, aged.store, cluster, place, draw
        self.keys = repository_keys.create_or_open(self.store, KEK, cluster)
        self.last: dict[str, Stored] = {}
        self.changes: dict[str, Changes] = {}

    def live(self, generations: int) -> None:
        for node in NODES:
            self._plant(node)
        aged, cluster = self.aged, self.cluster
        aged.purged[cluster] = self._snapshot("purged")
        before = set(self.store.objects)
        aged.snapshots[cluster] = []
        self.last = {}  # so that nothing is shared with the purged one
        for number in range(3):
            if number == 2 and generations == 2:
                self._new_generation()
            aged.snapshots[cluster].append(self._snapshot(f"nightly-{number}"))
            for node in NODES:
                self._change(node)
        self._purge(before)
        aged.trashed[cluster] = aged.snapshots[cluster][1]
        roots.mark_trash(self.store, self.keys, aged.trashed[cluster], "2026-03-02T00:00:00Z")
        aged.failed[cluster] = new_uuid()
        roots.bury(self.store, self.keys, aged.failed[cluster], 3, "no cut", "2026-03-02T00:00:00Z")
        self._dead_attempt(aged.failed[cluster])
        self._pin()

    def _snapshot(self, name: str) -> str:
        snapshot, nodes = new_uuid(), []
        for node in NODES:
            base = self.last.get(node)
            stored = self._capture(snapshot, node, base)
            named = {"name": node, "manifest": stored.id, "size": stored.size, "hash": stored.hash}
            nodes.append({**named, "node_id": new_uuid(), "base": base.id if base else None})
            self.last[node] = stored
            self.changes[node] = Changes()
        root = {
            "format": 1,
            "snapshot": snapshot,
            "name": name,
            "cluster": {"id": self.cluster},
            "nodes": nodes,
        }
        roots.publish(self.store, self.keys, Root.from_json("root", root), [])
        self.store.now += timedelta(hours=1)
        return snapshot

    def _capture(self, snapshot: str, node: str, base: Stored | None) -> Stored:
        sources = [Source(base, 1, self.changes[node])] if base else []
        reader, ledger = LocalReader(self.place / node, _FACTS.tablespace_directory), PackLedger()
        with closing(ManifestWriter()) as manifest, closing(Base(self.store, self.keys, PAGE, sources)) as of:
            copy = Copy(reader, _FACTS, 1, self.store, self.keys, manifest, ledger, 1, of, Care())
            copy.run(lambda done: None)
            copy.add("global/pg_control", 0o600, self.draw.randbytes(300))
            copy.add("@backup/backup_label", 0o600, b"START WAL LOCATION: 0/100028\n")
            copy.finish()
            self._wal(manifest, ledger)
            told: Line = {
                "t": "node",
                "cluster": self.cluster,
                "snapshot": snapshot,
                "node": node,
                "attempt": 1,
            }
            told |= {"base": base.id if base else None, "block_size": PAGE, "pg_version_num": 180006}
            told |= {"cut": {"name": "cut", "lsn": 2, "timeline": 1}}
            head = [told, *({"t": "pack", **asdict(pack)} for pack in ledger.packs.values())]
            return manifest.store(self.store, self.keys, head, lambda line: line.get("path") == "base/5/gone")

    def _wal(self, manifest: ManifestWriter, ledger: PackLedger) -> None:
        writer, wal = PackWriter(self.store, self.keys, ledger.add), MapBuilder()
        size = 3000
        wal.add_bytes(
            [Extent(writer.add(self.draw.randbytes(size), Kind.BYTES), 0, size), Extent(None, 0, 5000)]
        )
        writer.finish()
        packs = ledger.ordinals(wal.packs)
        assert packs is not None
        stored = wal.store(self.store, self.keys)
        manifest.add_map(stored, packs, is_new=True)
        line: Line = {"t": "wal", "path": "0" * 24, "size": size + 5000, "map": stored.id, "entry": 0}
        manifest.add(line)

    def _page(self) -> bytes:
        return self.draw.choice(
            [bytes(PAGE), self.draw.randbytes(PAGE), b"%04d" % self.draw.randrange(99) * 256]
        )

    def _plant(self, node: str) -> None:
        home, draw = self.place / node, self.draw
        for name in ("base/1", "base/5", "global", "pg_xact", "pg_wal", "pg_tblspc"):
            (home / name).mkdir(parents=True)
        tablespace = self.place / f"{node}.tablespace"
        (tablespace / "PG_18_202506291/5").mkdir(parents=True)
        (home / "pg_tblspc/16500").symlink_to(tablespace)
        for relation in range(16384, 16390):
            pages = b"".join(self._page() for _ in range(draw.randrange(1, 18)))
            (home / f"base/5/{relation}").write_bytes(pages)
        (home / "base/5/16384.1").write_bytes(b"".join(self._page() for _ in range(5)))
        (home / "base/5/16384_vm").write_bytes(draw.randbytes(PAGE))
        (home / "base/5/16400").write_bytes(bytes(3 * PAGE))
        (home / "base/5/16401").write_bytes(b"")
        (home / "base/5/gone").write_bytes(b"dropped from the manifest, so that its entry is dead")
        (home / _TABLESPACE / "16600").write_bytes(b"".join(self._page() for _ in range(9)))
        (home / "pg_xact/0000").write_bytes(draw.randbytes(3 * _FRAME_PAGES * PAGE + 77))
        for number in range(6):
            (home / f"base/1/{number}_small").write_bytes(draw.randbytes(draw.randrange(1, 900)))

    def _change(self, node: str) -> None:
        """Some pages of some relations, one that is cut, one that is new, one that goes, a small file."""
        home, draw, changes = self.place / node, self.draw, self.changes[node]
        for relation in draw.sample(range(16384, 16388), 2):
            path = home / f"base/5/{relation}"
            content = bytearray(path.read_bytes())
            blocks = sorted(draw.sample(range(len(content) // PAGE), min(2, len(content) // PAGE)))
            for block in blocks:
                content[block * PAGE : (block + 1) * PAGE] = self._page()
            path.write_bytes(content)
            changes.add(1663, 5, relation, Changed(None, np.array(blocks, np.uint32)))
        with (home / _TABLESPACE / "16600").open("ab") as grown:
            grown.write(draw.randbytes(PAGE))
        changes.add(16500, 5, 16600, Changed(None, np.empty(0, np.uint32)))
        os.truncate(home / "base/5/16389", PAGE)
        changes.add(1663, 5, 16389, Changed(1, np.empty(0, np.uint32)))
        (home / f"base/5/{draw.randrange(20000, 30000)}").write_bytes(draw.randbytes(3 * PAGE))
        (home / f"base/1/{draw.randrange(6)}_small").write_bytes(draw.randbytes(500))

    def _new_generation(self) -> None:
        secret = os.urandom(KEY_BYTES) + self.keys.fingerprint_key
        key = layout.keys(self.cluster, 2, KEK.id)
        self.store.create(key, [repository_keys._seal(KEK, self.cluster, 2, secret)])
        self.keys = repository_keys.open_keys(self.store, KEK, self.cluster)

    def _purge(self, before: set[str]) -> None:
        """As a collection leaves it: a tombstone, and what only that snapshot reached is gone."""
        key = layout.root(self.cluster, self.aged.purged[self.cluster])
        mine = [one for one in before if one.startswith(f"c/{self.cluster}/") and "/keys/" not in one]
        self.aged.purged_root[self.cluster] = self.store.objects[key][0]
        for gone in mine:
            self.store.delete(gone)
        roots.bury(self.store, self.keys, self.aged.purged[self.cluster], 0, "purged", "2026-03-02T00:00:00Z")

    def _dead_attempt(self, snapshot: str) -> None:
        """A pack, a map and a manifest that no root names; and a part of a manifest."""
        self._capture(snapshot, NODES[0], None)
        with closing(ManifestWriter()) as part:
            head: Line = {"t": "node", "snapshot": new_uuid(), "cut": None}
            part.store(
                self.store,
                self.keys,
                [head],
                lambda line: False,
            )

    def _pin(self) -> None:
        """Of a snapshot at work, one node of which is done."""
        pin, snapshot = new_hex(), new_uuid()
        body: dict[str, Any] = {"work": "capture", "snapshot": snapshot, "attempt": 1, "bases": []}
        chunks = sealed.seal(self.keys, Type.PIN, str(uuid.UUID(pin)), json.dumps(body).encode())
        self.store.put(f"c/{self.cluster}/pins/{pin}", chunks)
        self._capture(snapshot, NODES[0], None)
