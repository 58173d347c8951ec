"""`stillhouse/cli/help.txt`: the first page of help, as the command line lays it out. `make help-page` writes it."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from stillhouse import __main__ as entry
from stillhouse.cli.main import app

_COLUMNS = 80


def laid_out() -> str:
    """Return the page, plain and for a terminal of 80 columns."""
    page = StringIO()
    app.help_print([], console=Console(file=page, width=_COLUMNS, color_system=None, force_terminal=False))
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


if __name__ == "__main__":
    Path(entry.HELP).write_text(laid_out(), encoding="utf-8")
