"""A capture and a restore of data of a given size, and what they cost; no server is needed."""

import resource
from pathlib import Path

import numpy as np

from stillhouse.clock import SystemClock
from stillhouse.domain.ids import new_uuid
from stillhouse.node.capture import pack_writer
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.storage.local import LocalStore
from stillhouse.storage.store import ObjectStore
from support.data_directories import fake_tree
from support.data_directories.fake_tree import PAGE

MIB = 1 << 20


def fill(root: Path, mib: int, files: int = 0) -> None:
    """Relations that do not compress, of 8 MiB each, and small files."""
    for directory in ("base/1", "base/5", "global", "pg_wal"):
        (root / directory).mkdir(parents=True)
    draw = np.random.default_rng(mib)
    for number in range(mib // 8):
        (root / f"base/1/{20_000 + number}").write_bytes(draw.bytes(8 * MIB))
    for number in range(files):
        (root / f"base/5/{30_000 + number}").write_bytes(b"%07d\n" % number * (PAGE // 8))
    (root / "PG_VERSION").write_text("18\n")


def keys_in(store: ObjectStore) -> ClusterKeys:
    return create_or_open(store, Kek(bytes(32)), new_uuid())


def peaks(place: Path, mib: int, files: int) -> tuple[int, int]:
    """Bytes by which a capture, and then a restore, raised the memory of this process at its most."""
    pack_writer.PACK_BYTES = 4 * MIB  # so that little data fills many
    root = place / f"{mib}-{files}"
    fill(root / "home", mib, files)
    (root / "store").mkdir()
    store = LocalStore(root / "store", SystemClock())
    keys = keys_in(store)
    warm = root / "warm"
    fill(warm / "home", 8)
    fake_tree.rebuild(warm / "clone", fake_tree.capture(warm / "home", store, keys)[0], store, keys)
    before = most_memory()
    stored, _, _ = fake_tree.capture(root / "home", store, keys)
    captured = most_memory()
    fake_tree.rebuild(root / "clone", stored, store, keys)
    return captured - before, most_memory() - captured


def most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
