"""The settings of a run: flags win over the environment, which wins over a TOML file. Unknown names are refused."""

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillhouse.cli.terminal.near import did_you_mean
from stillhouse.cli.terminal.setting_names import SETTINGS
from stillhouse.errors import InvalidInput

if TYPE_CHECKING:
    from pydantic import ValidationError

    from stillhouse.config import Settings

PREFIX = "STILLHOUSE_"
CONFIG = "STILLHOUSE_CONFIG"

OF_COMMANDS = {
    CONFIG: "a TOML file with settings of the service, which the commands that take `--data` read",
    "STILLHOUSE_ENDPOINT": "the service's address, for the commands that ask it",
    "STILLHOUSE_PROJECT": "the project that they work in",
    "STILLHOUSE_KEY_FILE": "a file with the output of `stillhouse key create --json`",
    "STILLHOUSE_CA_FILE": "a PEM file with the authorities that they trust",
    "STILLHOUSE_PROFILE": "a profile of the terminal's, which has these",
    "STILLHOUSE_USER_PWD": "the password of a new cluster's user",
    "STILLHOUSE_NODE_PWD": "the password of the role that a registered cluster is reached by",
}
"""Variables that are no settings of the service, each with its meaning."""

# The tests' own, which services that they start inherit; and those that Kubernetes gives to the containers of a
# namespace with a Service named stillhouse (its documentation: "Environment variables" of a Service).
_FOREIGN = re.compile(
    r"STILLHOUSE_(DEMAND_S3|CLIENTS|SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_OTHERS_MAY_WRITE = stat.S_IWOTH


def read(
    flags: Mapping[str, Any], file: Path | None = None, environment: Mapping[str, str] = os.environ
) -> "Settings":
    """Return the settings; a flag of None was not given. Raises InvalidInput, which names the place to mend.

    Without a `file`, STILLHOUSE_CONFIG may name one.
    """
    from pydantic import ValidationError

    from stillhouse.config import Settings

    check_environment(environment)
    named = file or (Path(environment[CONFIG]) if environment.get(CONFIG) else None)
    in_file = {} if named is None else _in_file(named, Settings.model_fields)
    given = {name: value for name, value in flags.items() if value is not None}
    of_environment = {name.lower().removeprefix(PREFIX.lower()) for name in environment}
    fallback = {name: value for name, value in in_file.items() if name not in of_environment}
    try:
        return Settings(**{**fallback, **given})
    except ValidationError as error:
        raise _told(error, given, of_environment, named) from error


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse unknown variables that begin as ours do: a misspelt setting would not hold. Raises
    InvalidInput.
    """
    ours = {name for name in environment if name.upper().startswith(PREFIX)}
    for name in sorted(ours - OF_COMMANDS.keys()):
        if name.upper() not in SETTINGS and not _FOREIGN.fullmatch(name):
            raise InvalidInput(
                f"{name} is in the environment, and is no setting",
                hint=f"{_meant(name.upper(), SETTINGS | OF_COMMANDS.keys())} Else unset it",
            )


def _in_file(path: Path, known: Iterable[str]) -> dict[str, Any]:
    """Return the file's settings. Raises InvalidInput."""
    try:
        if path.stat().st_mode & _OTHERS_MAY_WRITE:
            raise InvalidInput(f"everybody may write {path}", hint=f"chmod o-w {path}")
        said = tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidInput(
            f"cannot read the settings in {path}: {error.strerror}", hint=f"see --config and {CONFIG}"
        ) from error
    except ValueError as error:
        raise InvalidInput(
            f"{path} is no TOML file: {error}", hint='a line is like  listen = "127.0.0.1:8080"'
        ) from error
    for name in said:
        if name not in set(known):
            raise InvalidInput(f"{path}: {name} is no setting", hint=_meant(name, known))
    return said


def _meant(name: str, known: Iterable[str]) -> str:
    """Return the question that names the nearest, or where all are listed. A prefix is no likeness."""
    by_rest = {each.removeprefix(PREFIX): each for each in known}
    return did_you_mean(name.removeprefix(PREFIX), by_rest, "docs/settings.md lists them all.")


def _told(
    error: "ValidationError", given: Mapping[str, Any], of_environment: Iterable[str], file: Path | None
) -> InvalidInput:
    """Translate the first thing that is wrong, with the place where it was said."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "missing":
        return InvalidInput(
            f"no {name} directory is given" if name == "data" else f"{name} is not given",
            hint=f'give --{name}, {PREFIX}{name.upper()}, or {name} = "..." in the file of --config',
        )
    if name in given:
        place = f"--{name.replace('_', '-')}"
    elif name in of_environment:
        place = PREFIX + name.upper()
    else:
        place = f"{file}: {name}"
    wrong = str(first["input"])[:100]
    return InvalidInput(
        f"{place} cannot be {wrong!r}: {first['msg'][:1].lower()}{first['msg'][1:]}",
        hint="docs/settings.md tells its values",
    )
