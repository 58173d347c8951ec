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
_OF_OTHER_COMMANDS = (
    *("alembic", "pydantic", "sqlalchemy", "stillhouse.catalog", "stillhouse.config", "stillhouse.control"),
    *("httpx", "rich", "yaml"),
)
_RUN = """
import sys
from stillhouse.cli.main import app
app(sys.argv[2:], result_action="return_value")
print([name for name in sys.argv[1].split(",") if sys.modules.get(name)])
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


_HOST = ("--host", "127.0.0.1:1", "--tls", "disable")
_NO_SERVER = """
import sys
from stillhouse.cli.main import app
from stillhouse.cli.terminal import command
command.leave = lambda error, code: print(error.code)
app(sys.argv[2:], result_action="return_value")
print([name for name in sys.argv[1].split(",") if sys.modules.get(name)])
"""


@pytest.mark.parametrize(
    "words", [("add", "orders", *_HOST), ("connect", "orders", *_HOST), ("check", "orders")], ids=" ".join
)
def test_a_command_on_registered_servers_imports_the_driver_and_the_checks_alone(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the server, which does not answer, or the cluster, which is not there."""
    monkeypatch.setenv("STILLHOUSE_NODE_PWD", "any")
    heavy = tuple(name for name in _OF_A_SERVICE if name not in ("psycopg", "stillhouse.warehouse"))
    place = ("--data", str(tmp_path), *_PROJECT)
    assert imported(heavy, _NO_SERVER, "cluster", *words, *place) == "[]"


_LIST = """
import sys
from stillhouse.cli.main import app
from stillhouse.cli.terminal import command
command.leave = lambda error, code: print(error.code)
app(["snapshot", "list", "--limit", "20"], result_action="return_value")
print([name for name in sys.argv[1].split(",") if sys.modules.get(name)])
"""


def test_a_command_that_asks_the_service_imports_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the request, which is signed. The signature is the gateway's own; it once brought the catalog with it."""
    monkeypatch.setenv("STILLHOUSE_DATA", "/anywhere")  # a setting of the service, which others read
    monkeypatch.setenv("STILLHOUSE_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("STILLHOUSE_PROJECT", "0" * 32)
    monkeypatch.setenv("CLOUD_SDK_AK", "A" * 20)
    monkeypatch.setenv("CLOUD_SDK_SK", "B" * 40)
    said = imported((*_OF_A_SERVICE, *_OF_OTHER_COMMANDS), _LIST)
    assert said == "[]", "bars, YAML and httpx are not needed either"
