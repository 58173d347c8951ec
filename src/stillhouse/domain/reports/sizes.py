"""Sizes in words: bytes in units of 1024, everywhere in the command line and the console."""

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def said_size(count: float) -> str:
    """Return bytes as `1.2 GiB`."""
    size, unit = float(count), "B"
    for larger in _UNITS:
        if round(size, 1) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
