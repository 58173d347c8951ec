"""WAL segments: their names, and the proof that bytes are the segment they claim to be."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stillhouse.errors import CaptureFailed
from stillhouse.postgres.wal.lsn import format_lsn, parse_lsn, segment_name
from stillhouse.postgres.wal.segments import WalSource, check_segment
from support.data_directories.synthetic_wal import HEAP, SYSTEM, Wal, record

MIB = 1 << 20
SOURCE = WalSource(SYSTEM, 3, MIB)


@pytest.fixture
def segment() -> NDArray[np.uint8]:
    """Full to its end; the one that begins at 5 MiB."""
    wal = Wal(SOURCE, first_segment=5)
    while len(wal.segments()) < 2:
        wal.append(record(HEAP, 0, b"\x5a" * 5000))
    image: NDArray[np.uint8] = wal.segments()[0].copy()
    return image


def check(image: NDArray[np.uint8], source: WalSource = SOURCE, start: int = 5 * MIB) -> None:
    check_segment(image, start, start + MIB, source)


def test_a_segment_proves_itself(segment: NDArray[np.uint8]) -> None:
    check(segment)


def test_only_zeros_may_follow_a_switch() -> None:
    wal = Wal(SOURCE, first_segment=5)
    wal.append(record(HEAP, 0, bytes(20_000)))
    wal.switch()
    (image,) = wal.segments()
    check(image)
    behind = image.copy()
    behind[600_000] = 1
    with pytest.raises(CaptureFailed, match="another place"):
        check(behind)


def test_a_recycled_segment_is_refused(segment: NDArray[np.uint8]) -> None:
    with pytest.raises(CaptureFailed, match="0/00600000 holds pages of another place"):
        check(segment, start=6 * MIB)


@pytest.mark.parametrize("page", [0, 1, 64, 127])
def test_one_page_of_another_place_is_refused(segment: NDArray[np.uint8], page: int) -> None:
    segment[page * 8192 + 8 + 3] ^= 1
    with pytest.raises(CaptureFailed, match="another place"):
        check(segment)


@pytest.mark.parametrize("page", [0, 1, 126])
def test_a_page_of_zeros_in_the_middle_is_refused(segment: NDArray[np.uint8], page: int) -> None:
    segment[page * 8192 : (page + 1) * 8192] = 0
    with pytest.raises(CaptureFailed, match="another place"):
        check(segment)


def test_a_segment_of_zeros_is_refused() -> None:
    with pytest.raises(CaptureFailed, match="another server"):
        check(np.zeros(MIB, np.uint8))


def test_another_timeline_is_refused(segment: NDArray[np.uint8]) -> None:
    with pytest.raises(CaptureFailed, match="timeline"):
        check(segment, WalSource(SYSTEM, 4, MIB))


def test_another_servers_segment_is_refused(segment: NDArray[np.uint8]) -> None:
    with pytest.raises(CaptureFailed, match="another server"):
        check(segment, WalSource(SYSTEM + 1, 3, MIB))


def test_another_segment_size_is_refused(segment: NDArray[np.uint8]) -> None:
    with pytest.raises(CaptureFailed, match="has 1048576 bytes"):
        check(segment, WalSource(SYSTEM, 3, 2 * MIB))


@pytest.mark.parametrize("length", [0, 1, 8192, MIB - 1])
def test_a_short_segment_is_refused(segment: NDArray[np.uint8], length: int) -> None:
    with pytest.raises(CaptureFailed, match=f"has {length} bytes"):
        check(segment[:length])


@pytest.mark.parametrize(
    ("timeline", "lsn", "size", "name"),
    [
        (1, 0x0100_0000, 16 * MIB, "000000010000000000000001"),
        (1, 0x01FF_FFFF, 16 * MIB, "000000010000000000000001"),
        (0xA, 0x1_FF00_0000, 16 * MIB, "0000000A00000001000000FF"),
        (2, 0x2_0000_0000, MIB, "000000020000000200000000"),
        (2, 0x2_FFF0_0000, MIB, "000000020000000200000FFF"),
        (1, 0x3_C000_0000, 1 << 30, "000000010000000300000003"),
    ],
)
def test_segments_are_named_as_postgresql_names_them(timeline: int, lsn: int, size: int, name: str) -> None:
    assert segment_name(timeline, lsn, size) == name


@pytest.mark.parametrize(("lsn", "text"), [(0, "0/00000000"), (0x16_B374_D848, "16/B374D848")])
def test_lsns_are_written_and_read(lsn: int, text: str) -> None:
    assert format_lsn(lsn) == text
    assert parse_lsn(text) == lsn
    assert parse_lsn("16/B374D848".lower()) == 0x16_B374_D848
