"""The check of free space before much is written: a full disk would stop the warehouses on it too."""

import shutil
from pathlib import Path

from stillhouse.errors import RestoreFailed


def check_room(place: Path, needed: int, purpose: str = "") -> None:
    """Raise RestoreFailed unless `needed` bytes are free on the disk of `place`. `purpose` follows "are needed"."""
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RestoreFailed(
            f"{place} has {free} bytes free, {needed} are needed{f' {purpose}' if purpose else ''}",
            hint=f"make room below {place}",
        )
