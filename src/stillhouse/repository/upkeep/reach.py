"""The objects that a published snapshot needs: its manifests, and the packs and maps that they name."""

from collections.abc import Iterator

from stillhouse.repository.format import layout, manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.storage.store import ObjectStore


def manifests(root: Root) -> list[Stored]:
    """The manifests of a root's nodes."""
    return [node.stored for node in root.nodes]


def reached(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Iterator[tuple[str, int]]:
    """(key, size) of a manifest and of everything below it, as a stream that keeps no lines in memory.

    Raises RepositoryDamaged when it cannot be opened, or holds a field that this program must not ignore.
    """
    cluster = str(keys.cluster)
    yield layout.manifest(cluster, stored.id), stored.size
    for line in manifest.read_objects(store, keys, stored):
        key = layout.pack(cluster, line["id"]) if line["t"] == "pack" else layout.map_(cluster, line["id"])
        yield key, line["size"]
