"""The objects that a published snapshot needs: its manifests, and the packs and maps that they name."""

from collections.abc import Callable, Iterator

from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format import layout, manifest
from stillhouse.repository.format.keys import ClusterKeys
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects.roots import Root
from stillhouse.storage.store import ObjectStore

_FOLDERS: dict[str, Callable[[str, str], str]] = {"pack": layout.pack, "map": layout.map_}


def manifests(root: Root) -> list[Stored]:
    """The manifests of a root's nodes. Raises RepositoryDamaged when the root does not name them."""
    try:
        return [Stored(node["manifest"], node["size"], node["hash"]) for node in root["nodes"]]
    except (KeyError, TypeError):
        raise RepositoryDamaged(
            f"the root of snapshot {root.get('snapshot')} does not name manifests"
        ) from None


def reached(store: ObjectStore, keys: ClusterKeys, stored: Stored) -> Iterator[tuple[str, int]]:
    """(key, size) of a manifest and of everything below it, as a stream that keeps no lines in memory.

    Raises RepositoryDamaged when it cannot be opened, or holds a field that this program must not ignore.
    """
    cluster = str(keys.cluster)
    yield layout.manifest(cluster, stored.id), stored.size
    for line in manifest.read(store, keys, stored):
        if line["t"] in _FOLDERS:
            yield _FOLDERS[line["t"]](cluster, line["id"]), line["size"]
