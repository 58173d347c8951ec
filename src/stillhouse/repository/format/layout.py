"""Keys of objects in a repository (docs/format.md, section 1)."""

CLUSTERS = "c/"


def all_of(cluster: str) -> str:
    return f"c/{cluster}/"


def folder(key: str) -> str:
    """The folder of the cluster that an object lies in."""
    return key.split("/")[2]


def keys(cluster: str, generation: int, kek_id: str) -> str:
    return f"c/{cluster}/keys/{generation:08d}/{kek_id}"


def keys_of(cluster: str) -> str:
    return f"c/{cluster}/keys/"


def packs_of(cluster: str) -> str:
    return f"c/{cluster}/packs/"


def maps_of(cluster: str) -> str:
    return f"c/{cluster}/maps/"


def manifests_of(cluster: str) -> str:
    return f"c/{cluster}/manifests/"


def roots_of(cluster: str) -> str:
    return f"c/{cluster}/roots/"


def trash_of(cluster: str) -> str:
    return f"c/{cluster}/trash/"


def pack(cluster: str, pack_id: str) -> str:
    return f"c/{cluster}/packs/{pack_id}"


def map_(cluster: str, map_id: str) -> str:
    return f"c/{cluster}/maps/{map_id}"


def manifest(cluster: str, manifest_id: str) -> str:
    return f"c/{cluster}/manifests/{manifest_id}"


def root(cluster: str, snapshot: str) -> str:
    return f"c/{cluster}/roots/{snapshot}"


def trash(cluster: str, snapshot: str) -> str:
    return f"c/{cluster}/trash/{snapshot}"


def ending(cluster: str, ending_id: str) -> str:
    return f"c/{cluster}/endings/{ending_id}"


def scrub(cluster: str, scrub_id: str) -> str:
    return f"c/{cluster}/scrubs/{scrub_id}"


def scrubs_of(cluster: str) -> str:
    return f"c/{cluster}/scrubs/"


def pin(cluster: str, pin_id: str) -> str:
    return f"c/{cluster}/pins/{pin_id}"


def pins_of(cluster: str) -> str:
    return f"c/{cluster}/pins/"


def mark(cluster: str, mark_id: str) -> str:
    return f"c/{cluster}/marks/{mark_id}"


def reach(cluster: str, segment_id: str) -> str:
    return f"c/{cluster}/reach/{segment_id}"


def findings(cluster: str, record_id: str) -> str:
    return f"c/{cluster}/findings/{record_id}"


def findings_of(cluster: str) -> str:
    return f"c/{cluster}/findings/"
