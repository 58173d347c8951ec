"""The help is there at once: it imports no command, no server and no client."""

import subprocess
import sys

from support.documents.help_page import laid_out

_FIRST_PAGE = """
import sys
from stillhouse.__main__ import main
sys.argv = ["stillhouse", "--help"]
main()
print("imported:", [name for name in ("cyclopts", "rich", "stillhouse.cli") if name in sys.modules])
"""


def test_the_first_page_of_help_imports_nothing_and_is_what_the_command_line_would_print() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _FIRST_PAGE], capture_output=True, text=True, check=True
    ).stdout
    assert said == f"{laid_out()}imported: []\n", "`make help-page` writes the page"


_LOOK = """
import sys
from stillhouse.cli.main import app
app(["--help"], result_action="return_value")
heavy = ("httpx", "pydantic", "sqlalchemy", "dbos", "rich.markdown", "stillhouse.cli.service", "stillhouse.config")
print("imported:", [name for name in heavy if name in sys.modules])
"""


def test_the_help_imports_no_command() -> None:
    said = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True).stdout
    assert "Run the service" in said and "Warehouse clusters" in said
    assert said.splitlines()[-1] == "imported: []"


def test_the_purposes_in_the_help_are_those_of_the_groups() -> None:
    from stillhouse.cli.main import _GROUPS, app

    for name, (_, purpose) in _GROUPS.items():
        assert app[name].help == purpose
