"""A command imports what it needs: the import of a whole service would take most of its time."""

import subprocess
import sys
from pathlib import Path

import pytest

_OF_A_SERVICE = (
    "dbos",
    "fastapi",
    "numpy",
    "obstore",
    "psycopg",
    "uvicorn",
    "stillhouse.durable",
    "stillhouse.node",
    "stillhouse.repository",
    "stillhouse.storage",
    "stillhouse.warehouse",
    "stillhouse.workers",
)
_RUN = """
import sys
from stillhouse.cli.main import app
app(sys.argv[2:], result_action="return_value")
print([name for name in sys.argv[1].split(",") if name in sys.modules])
"""
_PROJECT = ("--project", "0" * 32)


def imported(heavy: tuple[str, ...], script: str, *words: str) -> str:
    """Return the last line of what the script has said: those of the modules that it has imported."""
    ran = subprocess.run(
        [sys.executable, "-c", script, ",".join(heavy), *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("key", "create", *_PROJECT),
        ("key", "list"),
        ("key", "policy", "list"),
        ("key", "policy", "show", "DWS FullAccess"),
        ("user", "create", "op1", *_PROJECT),
        ("user", "list"),
        ("audit", "list"),
    ],
    ids=" ".join,
)
def test_a_command_on_the_catalog_imports_neither_the_engine_nor_the_repository(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    assert imported(_OF_A_SERVICE, _RUN, *words, "--data", str(tmp_path)) == "[]"


_ASK = """
import sys
import stillhouse.cli.service.commands
from stillhouse.api.gateway import signature
print([name for name in sys.argv[1].split(",") if name in sys.modules])
"""


def test_a_command_that_asks_the_service_imports_nothing_of_it() -> None:
    """The signature is the gateway's own; it once brought the catalog with it, and a second of imports."""
    of_a_catalog = ("pydantic", "sqlalchemy", "stillhouse.catalog", "stillhouse.control")
    assert imported((*_OF_A_SERVICE, *of_a_catalog), _ASK) == "[]"
