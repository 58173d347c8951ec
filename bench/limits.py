"""What this machine can do at most, step by step, on one core: `make bench-limits`.

Each step alone, on the same 64 MiB that compress about 2:1; the best of several turns, in plain MiB a second.
"""

import json
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from measure import PAGE, RESULTS
from rich.console import Console
from rich.table import Table

from stillhouse.postgres.files import pages
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import PARAMETERS

MIB = 1 << 20
SIZE = 64 * MIB
FRAME = MIB
BATCH_PAGES = 512  # as in the batches of a capture: 4 MiB
TURNS = 5


def sample() -> bytes:
    """Random bytes of four bits each, as hexadecimal digests are."""
    return np.random.default_rng(1).integers(97, 113, SIZE, np.uint8).tobytes()


def best(step: Callable[[], object]) -> float:
    """MiB a second of the fastest turn: what others do on the machine meanwhile only slows it down."""
    seconds = []
    for _ in range(TURNS):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    return SIZE / MIB / min(seconds)


def steps(place: Path, data: bytes) -> dict[str, Callable[[], object]]:
    view = memoryview(data)
    frames = [view[at : at + FRAME] for at in range(0, SIZE, FRAME)]
    keys = ClusterKeys(uuid.UUID(int=1), {1: bytes(32)}, bytes(32))
    table = np.frombuffer(data, np.uint8).reshape(-1, PAGE)
    blocks = np.arange(len(table), dtype=np.uint32)

    compressor = zstandard.ZstdCompressor(compression_params=PARAMETERS)
    decompressor = zstandard.ZstdDecompressor()
    small = [compressor.compress(frame) for frame in frames]
    cipher, nonce = AESGCM(bytes(32)), bytes(12)
    sealed = [cipher.encrypt(nonce, frame, None) for frame in frames]
    file = place / "data"
    file.write_bytes(data)
    buffer = bytearray(FRAME)

    def read() -> None:
        descriptor = os.open(file, os.O_RDONLY)
        for at in range(0, SIZE, FRAME):
            os.preadv(descriptor, [buffer], at)
        os.close(descriptor)

    def write() -> None:
        with (place / "written").open("wb", buffering=0) as written:
            for frame in frames:
                written.write(frame)
            os.fsync(written.fileno())

    return {
        "preadv, 1 MiB, from the page cache": read,
        "page checksums": lambda: pages.checksums(table, blocks),
        f"page checksums in NumPy, {BATCH_PAGES} pages at once": lambda: [
            pages.checksums_by_numpy(table[at : at + BATCH_PAGES], blocks[at : at + BATCH_PAGES])
            for at in range(0, len(table), BATCH_PAGES)
        ],
        "BLAKE3, whole frames": lambda: [blake3(frame).digest() for frame in frames],
        "AES-GMAC tags, page by page": lambda: keys.page_tags(data, PAGE),
        "zstd 1, frames of 1 MiB": lambda: [compressor.compress(frame) for frame in frames],
        "AES-256-GCM, frames of 1 MiB": lambda: [cipher.encrypt(nonce, frame, None) for frame in frames],
        "AES-256-GCM, opening": lambda: [cipher.decrypt(nonce, frame, None) for frame in sealed],
        "zstd, decompressing": lambda: [decompressor.decompress(frame) for frame in small],
        "write and fsync": write,
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shb-", dir="/var/tmp") as place:
        found = {name: round(best(step)) for name, step in steps(Path(place), sample()).items()}
    table = Table("step", "MiB/s on one core", title="Limits of this machine")
    for name, rate in found.items():
        table.add_row(name, str(rate))
    Console().print(table)
    told = {
        "machine": platform.machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "mib_per_second": found,
    }
    (RESULTS / "limits.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
