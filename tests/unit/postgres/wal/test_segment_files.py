"""Segments of WAL as the feed of a node on this host reads them."""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from stillhouse.errors import CaptureFailed
from stillhouse.postgres.wal.feed import SegmentFiles, wal_tree
from stillhouse.postgres.wal.lsn import segment_name
from stillhouse.postgres.wal.segments import WalSource, check_segment

SIZE = 1 << 20
START = 5 * SIZE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "pg_wal").mkdir()
    return tmp_path / "pg_wal" / segment_name(1, START, SIZE)


@pytest.fixture
def feed(path: Path) -> SegmentFiles:
    nothing = cast(Any, None)
    feed = SegmentFiles(nothing, nothing, wal_tree(path.parent.parent, os.getuid()))
    feed.begin(WalSource(7, 1, SIZE), START)
    return feed


def test_a_segment_holds_zeros_behind_the_wal_that_is_asked_for(feed: SegmentFiles, path: Path) -> None:
    path.write_bytes(b"\1" * 1000 + b"\2" * (SIZE - 1000))
    image = feed.segment(START, START + 1000)
    assert len(image) == SIZE and (image[:1000] == 1).all() and not image[1000:].any()
    assert feed.segment(START, START + SIZE).tobytes() == path.read_bytes()


@pytest.mark.parametrize("size", [0, 1000, SIZE - 1, SIZE + 1, 1 << 40])
def test_a_segment_of_another_length_is_refused(feed: SegmentFiles, path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)
    image = feed.segment(START, START + 8192)
    assert isinstance(image, np.ndarray)
    with pytest.raises(CaptureFailed, match="bytes"):
        check_segment(image, START, START + 8192, WalSource(7, 1, SIZE))
