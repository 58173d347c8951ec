"""Places in the WAL, which PostgreSQL calls LSNs: as text, and the names of the segments that hold them."""

# XLOG_BLCKSZ. A server that was built with another block size is refused (capture_checks.py).
BLOCK_SIZE = 8192


def segment_name(timeline: int, lsn: int, segment_size: int) -> str:
    """Return the name of the segment that holds the byte at `lsn`."""
    number = lsn // segment_size
    per_log = 0x1_0000_0000 // segment_size
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:08X}"


def parse_lsn(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)
