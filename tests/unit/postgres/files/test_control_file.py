"""pg_control is taken only when its CRC proves it whole."""

import struct
from collections.abc import Iterator

import google_crc32c
import pytest

from stillhouse.errors import CaptureFailed
from stillhouse.postgres.files import control_file

SYSTEM = 0x6A5B_4C3D_2E1F_0011


def image(version: int, fill: int) -> bytes:
    """A file of a server of that control version, whose other fields are all `fill`."""
    end = control_file.CRC_OFFSET[version]
    body = struct.pack("<QI", SYSTEM, version).ljust(end, bytes([fill]))
    return (body + struct.pack("<I", google_crc32c.value(body))).ljust(8192, b"\0")


@pytest.mark.parametrize("version", [1300, 1700, 1800])
def test_a_whole_file_is_told_from_one_altered_anywhere(version: int) -> None:
    whole = image(version, 7)
    assert control_file.is_whole(whole)
    for at in (*range(8), *range(12, control_file.CRC_OFFSET[version] + 4)):
        altered = bytearray(whole)
        altered[at] ^= 1
        assert not control_file.is_whole(bytes(altered)), at


@pytest.mark.parametrize("length", [0, 11, 12, 290, 295])
def test_a_file_cut_short_is_not_whole(length: int) -> None:
    assert not control_file.is_whole(image(1800, 7)[:length])


def test_an_unknown_version_is_named() -> None:
    with pytest.raises(CaptureFailed, match="version 1600"):
        control_file.is_whole(struct.pack("<QI", SYSTEM, 1600).ljust(8192, b"\0"))


def test_a_torn_read_is_read_again() -> None:
    before, after = image(1800, 1), image(1800, 2)
    reads: Iterator[bytes] = iter([before[:100] + after[100:], b"", after])
    assert control_file.read_whole(lambda: next(reads)) == after


def test_a_damaged_file_ends_the_capture() -> None:
    torn = image(1800, 1)[:100] + image(1800, 2)[100:]
    with pytest.raises(CaptureFailed, match="CRC"):
        control_file.read_whole(lambda: torn, tries=3)


def test_it_tells_whose_directory_this_is() -> None:
    assert control_file.system_identifier(image(1300, 0)) == SYSTEM
