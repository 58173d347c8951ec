"""Repositories with snapshots in them, made without a server, in milliseconds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.node.capture.base import Source
from stillhouse.postgres.wal.summaries import Changes
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import identity, roots
from stillhouse.storage.object_stores import memory_store
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
NODES = ("cn", "dn1")


def small_tree(root: Path, seed: int) -> None:
    """A few files of each kind: pages, bytes, none."""
    for directory in ("base/1", "global", "pg_xact"):
        (root / directory).mkdir(parents=True)
    for number in range(3):
        content = b"".join(bytes([seed, number, page]) * 2000 for page in range(5))
        (root / f"base/1/{16384 + number}").write_bytes(content.ljust(8192 * 5, b"\0")[: 8192 * 5])
    (root / "pg_xact/0000").write_bytes(bytes([seed]) * 3000)
    (root / "base/1/20000").write_bytes(b"")
    (root / "PG_VERSION").write_text("18\n")


@dataclass
class Bucket:
    """A store, its KEK, and the trees of the nodes that its snapshots are of."""

    place: Path
    store: ObjectStore = field(default_factory=memory_store)
    kek: Kek = field(default_factory=lambda: Kek(bytes.fromhex(new_hex() * 2)))

    def __post_init__(self) -> None:
        identity.claim(self.store)

    def keys(self, cluster: str) -> ClusterKeys:
        return create_or_open(self.store, self.kek, cluster)

    def home(self, cluster: str, node: str) -> Path:
        home = self.place / cluster / node
        if not home.exists():
            small_tree(home, len(node))
        return home

    def capture(self, cluster: str, node: str, base: Stored | None = None) -> Stored:
        sources = [Source(base, 1, Changes())] if base else []
        home, keys = self.home(cluster, node), self.keys(cluster)
        return fake_tree.capture(home, self.store, keys, sources=sources)[0]

    def snapshot(
        self, cluster: str, name: str, base: dict[str, Any] | None = None, *, port: int = 8000, **fields: Any
    ) -> dict[str, Any]:
        """A published root; with a base it shares the base's packs."""
        bases = {
            node["name"]: Stored(node["manifest"], node["size"], node["hash"])
            for node in (base["nodes"] if base else [])
        }
        nodes = []
        for number, node in enumerate(NODES):
            stored = self.capture(cluster, node, bases.get(node))
            nodes.append(
                {
                    "name": node,
                    "node_id": new_uuid(),
                    "role": node[:2],
                    "host": f"127.1.1.{number + 1}",
                    "port": 8000,
                    "manifest": stored.id,
                    "size": stored.size,
                    "hash": stored.hash,
                    "plain_bytes": 1000,
                    "wal_bytes": 10,
                    "lineage": new_hex(),
                }
            )
        root = {
            "format": 1,
            "snapshot": new_uuid(),
            "project": PROJECT,
            "cluster": {
                "id": cluster,
                "name": "sales",
                "engine": "fdw",
                "number_of_node": 1,
                "port": port,
                "user_name": "dbadmin",
                "facts": {"node_type": "any"},
            },
            "name": name,
            "description": "",
            "type": "MANUAL",
            "started": f"2026-11-20T08:00:{len([*self.store.list(f'c/{cluster}/roots')]):02d}+00:00",
            "finished": "2026-11-20T09:00:00+00:00",
            "plain_bytes": 2000,
            "stored_bytes": 100,
            "nodes": nodes,
            **fields,
        }
        typed = Root.from_json("root", root)
        assert roots.publish(self.store, self.keys(cluster), typed, []) == typed
        return root
