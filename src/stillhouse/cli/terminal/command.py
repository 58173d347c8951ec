"""How every command ends: its answer on standard output, or one readable line and exit code 1."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stillhouse.cli.terminal import settings, tables, times
from stillhouse.errors import InvalidInput, ServiceRefused, StillhouseError, WaitInterrupted

if TYPE_CHECKING:
    from stillhouse.control.catalog_context import CatalogContext

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object.")]
"""Type of the parameter that asks for one JSON object in place of words."""

ServerSettings = Annotated[tuple[str, ...], Parameter(name="--set", negative=())]
"""Type of the parameter that chooses PostgreSQL's settings for a restored cluster."""

Data = Annotated[
    Path,
    Parameter(env_var="STILLHOUSE_DATA", help="The service's data directory; the service may be running."),
]
Project = Annotated[str, Parameter(help="Project id: 32 lower-case hexadecimal digits.")]
OneProject = Annotated[str, Parameter(help="Only this project's.")]
Policies = Annotated[
    tuple[str, ...],
    Parameter(
        negative=(),
        help="The holder's permissions: a policy's name, or a file with a policy document; may be given several "
        "times; DWS FullAccess by default.",
    ),
]


_INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT


def run(command: Callable[[], None]) -> None:
    """Run a command; an error of the tree becomes one readable line and exit code 1."""
    try:
        settings.check_environment()
        command()
    except StillhouseError as error:
        leave(error, _INTERRUPTED if isinstance(error, WaitInterrupted) else 1)
    except KeyboardInterrupt:
        leave(WaitInterrupted("interrupted"), _INTERRUPTED)


def leave(error: StillhouseError, code: int) -> None:
    """End the program with this exit code, and tell the error on standard error: in words, or with `--json` as JSON."""
    if "--json" in sys.argv:
        told = {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retryable": error.retryable,
        }
        sys.stderr.write(
            json.dumps({"error": told | (error.of_service if isinstance(error, ServiceRefused) else {})})
            + "\n"
        )
    else:
        sys.stderr.write(f"stillhouse: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
    sys.stderr.flush()
    os._exit(code)


def run_on(data: Path, command: "Callable[[CatalogContext], None]") -> None:
    """Run a command on the catalog of a data directory, beside its service if that is running."""
    from stillhouse.bootstrap.catalog import open_catalog

    def work() -> None:
        with open_catalog(settings.read({"data": data})) as context:
            command(context)

    run(work)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """Tell a person a thing beside the answer, on standard error: with `--json` the answer stays one object."""
    sys.stderr.write(f"note: {text}\n")
    sys.stderr.flush()


def say_json(answer: Any) -> None:
    say(json.dumps(answer))


def say_fields(fields: Mapping[str, Any], as_json: bool) -> None:
    """Print one thing: a JSON object, or a line per field."""
    if as_json:
        say_json(fields)
        return
    width = max(map(len, fields), default=0)
    say("\n".join(f"{name:<{width}}  {_cell(value)}" for name, value in fields.items()) or "done")


def say_rows(name: str, rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print a list: a JSON object with a list, or a table with a line each."""
    if as_json:
        say_json({name: rows})
    elif rows:
        say_table(list(rows[0]), rows)


def say_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for the names of the columns and one for each row; on a terminal no wider than it is."""
    table = [list(columns)] + [[_cell(row.get(name)) for name in columns] for row in rows]
    lines, left_out = tables.laid_out(table, tables.width())
    say("\n".join(lines))
    if left_out:
        sys.stderr.write(f"left out, as the terminal is narrow: {', '.join(left_out)}; --json has all\n")


def moment(time: datetime | None) -> str | None:
    """Return a time as it is shown: ISO 8601, in UTC."""
    return None if time is None else time.isoformat(timespec="seconds")


def read_text(path: Path) -> str:
    """Read a file's text. Raises InvalidInput if it is missing."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from error


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "; ".join(value) or "-"
    return times.shown(value) if isinstance(value, str) else json.dumps(value)
