"""The command line: `serve` and `key`; what a service does is asked of its API."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from stillhouse import __version__
from stillhouse.errors import StillhouseError

app = App(name="stillhouse", version=__version__, help="Snapshots of PostgreSQL-family warehouse clusters.")
key = App(name="key", help="Access keys, which sign requests.")
app.command(key)

# Modules with servers and engines behind them are imported in the commands: `--help` should not wait for them.


@app.command
def serve(*, data: Path, listen: str = "127.0.0.1:8080") -> None:
    """Run the service: API, flows and local node work in one process tree.

    Parameters
    ----------
    data
        Everything the service needs is created below this directory.
    listen
        HOST:PORT to listen on. Ready when GET /healthz answers 200.
    """
    from stillhouse.cli.serve import run
    from stillhouse.config import Settings

    _exit_with(lambda: run(Settings(data=data, listen=listen)))


@key.command
def create(*, data: Path, project: str, json_: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Make an access key of a project; its secret is shown this once.

    Parameters
    ----------
    data
        The service's data directory; the service may be running.
    project
        Project id: 32 lower-case hexadecimal digits.
    json_
        Print one JSON object.
    """
    from stillhouse.bootstrap import open_control
    from stillhouse.config import Settings
    from stillhouse.control.access_keys import create_access_key

    def make() -> None:
        with open_control(Settings(data=data)) as control:
            made = create_access_key(control, project)
        fields = {"access_key": made.access_key, "secret_key": made.secret_key, "project_id": made.project}
        text = (
            json.dumps(fields) if json_ else "\n".join(f"{name:<12}{value}" for name, value in fields.items())
        )
        sys.stdout.write(text + "\n")

    _exit_with(make)


def _exit_with(command: Callable[[], None]) -> None:
    """Run a command; an error of the tree becomes one readable line and exit code 1."""
    try:
        command()
    except StillhouseError as error:
        sys.stderr.write(f"stillhouse: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        sys.stderr.flush()
        os._exit(1)
