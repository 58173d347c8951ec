"""The control file `global/pg_control`: reads it whole, which its CRC proves."""

import struct
import time
from collections.abc import Callable

import google_crc32c

from stillhouse.errors import CaptureFailed

# The major versions that this code knows.
OLDEST, NEWEST = 15, 18
# Offset of ControlFileData.crc by pg_control_version (src/include/catalog/pg_control.h). Each offset was tried on files
# of PostgreSQL 15 (and so 16), 17 and 18.
CRC_OFFSET = {1300: 288, 1700: 288, 1800: 292}


def is_whole(image: bytes) -> bool:
    """Whether the image's CRC-32C fits. If not, the file was being written while it was read."""
    if len(image) < 12:
        return False
    (version,) = struct.unpack_from("<I", image, 8)
    offset = CRC_OFFSET.get(version)
    if offset is None:
        raise CaptureFailed(
            f"pg_control version {version} is not known", hint=f"supported: PostgreSQL {OLDEST} to {NEWEST}"
        )
    if len(image) < offset + 4:
        return False
    (stored,) = struct.unpack_from("<I", image, offset)
    return bool(google_crc32c.value(image[:offset]) == stored)


def read_whole(read: Callable[[], bytes], tries: int = 20) -> bytes:
    """Read until the CRC fits. PostgreSQL rewrites the file in place, so a reader can see a mix of old and new.

    Raises CaptureFailed if no read in `tries` was whole: then the file itself is damaged.
    """
    for _ in range(tries):
        image = read()
        if is_whole(image):
            return image
        time.sleep(0.01)
    raise CaptureFailed("pg_control fails its CRC at every read", hint="run pg_controldata on the node")


def system_identifier(image: bytes) -> int:
    return int(struct.unpack_from("<Q", image, 0)[0])
