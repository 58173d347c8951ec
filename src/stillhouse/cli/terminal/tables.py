"""Tables that fit the terminal: the id goes first, then columns from the right; two stay, the last one cut."""

import os
import shutil
import sys
from collections.abc import Sequence

_GAP = "  "
_LEAST = 8  # the narrowest that a last column is cut to


def width() -> int | None:
    """Return the columns of the terminal, or of COLUMNS; `None` where the output goes elsewhere, uncut."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def fitted(table: Sequence[Sequence[str]], most: int | None) -> tuple[list[list[str]], list[str]]:
    """Return the rows, of which the first has the headings, in at most so many columns, and the headings left out."""
    rows, left_out = [list(row) for row in table], list[str]()
    while most is not None and _width(rows) > most and len(rows[0]) > 2:
        victim = rows[0].index("id") if "id" in rows[0] else len(rows[0]) - 1
        left_out.append(rows[0][victim])
        for row in rows:
            del row[victim]
    if most is not None and (excess := _width(rows) - most) > 0:
        last = len(rows[0]) - 1
        room = max(_LEAST, max(len(row[last]) for row in rows) - excess)
        for row in rows:
            row[last] = row[last] if len(row[last]) <= room else row[last][: room - 1] + "…"
    return rows, left_out


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows as lines, in columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _width(rows: Sequence[Sequence[str]]) -> int:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return sum(widths) + len(_GAP) * (len(widths) - 1)
