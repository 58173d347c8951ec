"""Tables that fit the terminal. Texts for which a line has no room stand below it, in lines of their own.

If that is not enough the id goes first, then columns from the right; two stay, the last one cut.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

_GAP = "  "
_LEAST = 8  # the narrowest that a last column is cut to
_INDENT = "    "
# Columns of whole sentences or commands. A row is worth little without them.
_TEXTS = frozenset({"message", "mend", "failure", "detail", "description", "reason", "because"})


def width() -> int | None:
    """Return the columns of the terminal, or of COLUMNS; `None` where the output goes elsewhere, uncut."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return shutil.get_terminal_size().columns
    return None


def laid_out(table: Sequence[Sequence[str]], most: int | None) -> tuple[list[str], list[str]]:
    """Return the lines of a table, of which the first has the headings, and the headings that are left out.

    `most` is the number of columns that the terminal has; without it there is room for everything.
    """
    texts = [at for at, name in enumerate(table[0]) if name in _TEXTS]
    if most is None or not texts or _width(table) <= most:
        rows, left_out = fitted(table, most)
        return lines(rows), left_out
    rows, left_out = fitted([[cell for at, cell in enumerate(row) if at not in texts] for row in table], most)
    heads, found = lines(rows), list[str]()
    for head, row in zip(heads, table, strict=True):
        found.append(head)
        if row is not table[0]:
            found += [line for at in texts if row[at] != "-" for line in _below(table[0][at], row[at], most)]
    return found, left_out


def _below(name: str, text: str, most: int) -> list[str]:
    """Return a text as lines; a command stays whole where it can be."""
    return textwrap.wrap(
        f"{name}: {text}",
        max(most, 2 * len(_INDENT) + _LEAST),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT * 2,
        break_on_hyphens=False,
    )


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
