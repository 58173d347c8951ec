"""The loops over pages that may be compiled (compiled.c): `loops` is `None` where they were not built, or do not fit.

Each has a twin without them, in NumPy or by OpenSSL, which gives the same answers in more time.
"""

import ctypes
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = bytes | bytearray | memoryview

_LIBRARY = Path(__file__).with_name("libstillhouse.so")
_UNIT = 128  # bytes that a loop takes at once
# A library that answers otherwise is of another version, or was compiled wrongly. The tests compare these answers with
# those of the twins.
_PAGE = bytes(range(256)) * 8
_CHECKSUM, _TAG = 26917, bytes.fromhex("a9ddaa7543a8aa1de3dc1bc97d1aebde")


class Loops:
    """The functions of the library. They let go of the interpreter's lock while they compute."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises AttributeError if a function is missing."""
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._checksums, self.has_tags = library.stillhouse_checksums, bool(library.stillhouse_has_tags())
        self._checksums.argtypes, self._checksums.restype = [pointer, size, size, pointer, pointer], None
        if self.has_tags:
            self._tags = library.stillhouse_tags
            self._tags.argtypes, self._tags.restype = [pointer, size, size, pointer, pointer, pointer], None

    def checksums(self, pages: NDArray[np.uint8], blocks: NDArray[np.uint32]) -> NDArray[np.uint16]:
        """Return the checksum that each page should have. `blocks` are their block numbers in the whole relation."""
        pages, blocks = np.ascontiguousarray(pages), np.ascontiguousarray(blocks, np.uint32)
        count, size = pages.shape
        if size % _UNIT or blocks.shape != (count,):
            raise ValueError(f"{pages.shape} pages and {blocks.shape} numbers of blocks")
        found = np.empty(count, np.uint16)
        self._checksums(pages.ctypes.data, count, size, blocks.ctypes.data, found.ctypes.data)
        return found

    def tags(self, pages: Bytes, size: int, hash_key: bytes, mask: bytes) -> bytes:
        """Return the AES-GMAC of each page, 16 bytes each. `hash_key` and `mask` are AES of zeros, and of the nonce."""
        plain = np.frombuffer(pages, np.uint8)
        if size <= 0 or size % _UNIT or len(plain) % size or len(hash_key) != 16 or len(mask) != 16:
            raise ValueError(f"{len(plain)} bytes in pages of {size}")
        found = np.empty((len(plain) // size, 16), np.uint8)
        self._tags(plain.ctypes.data, len(found), size, hash_key, mask, found.ctypes.data)
        return found.tobytes()


def open_loops(path: Path = _LIBRARY) -> Loops | None:
    """Load the library, if it is there and gives the right answers."""
    try:
        found = Loops(ctypes.CDLL(str(path)))
    except (OSError, AttributeError):
        return None
    return found if _answers_right(found) else None


def _answers_right(found: Loops) -> bool:
    page = np.frombuffer(_PAGE, np.uint8).reshape(1, -1)
    if found.checksums(page, np.array([7], np.uint32)).tolist() != [_CHECKSUM]:
        return False
    return not found.has_tags or found.tags(_PAGE, len(_PAGE), _PAGE[:16], _PAGE[16:32]) == _TAG


loops = open_loops()
