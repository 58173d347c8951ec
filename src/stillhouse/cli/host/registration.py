"""`stillhouse cluster add, check and grants`: servers that exist already, registered by the operator of the service.

They work on the data directory and not through the API: a registration names hosts that the service connects to, and
files with passwords that it reads. That is for the operator to decide, and not for a tenant.
"""

import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Data, Json, Project
from stillhouse.errors import InvalidInput

if TYPE_CHECKING:
    from stillhouse.control.clusters.registration import Registration
    from stillhouse.control.context import Control
    from stillhouse.postgres.host.check_up import Finding

_PASSWORD = "STILLHOUSE_NODE_PWD"  # noqa: S105 (the name of a variable)
_PORT = 5432

Hosts = Annotated[
    tuple[str, ...],
    Parameter(
        name="--host",
        negative=(),
        help="HOST or HOST:PORT of the server; several times for a primary and its standbys, in any order.",
    ),
]
Role = Annotated[str, Parameter(help="The role that the service logs in as.")]
PasswordFile = Annotated[
    Path | None,
    Parameter(
        help=f"A file whose first line is the password, read at each login; else it is taken from {_PASSWORD}, or asked"
        " for, and kept sealed in the catalog."
    ),
]
Tls = Annotated[str, Parameter(help="disable, require, verify-ca or verify-full, as libpq's sslmode.")]
CaFile = Annotated[Path | None, Parameter(help="A PEM file with the authorities that are trusted.")]


def add(
    name: str,
    /,
    *,
    data: Data,
    project: Project,
    host: Hosts,
    role: Role = "stillhouse_backup",
    password_file: PasswordFile = None,
    tls: Tls = "verify-full",
    ca_file: CaFile = None,
    json_: Json = False,
) -> None:
    """Register a PostgreSQL server that exists. It is checked first; the service may be running.

    Parameters
    ----------
    name
        Name of the new cluster.
    """
    from stillhouse.control.clusters.registration import register_cluster

    def register(control: "Control") -> None:
        wanted = _registration(name, host, role, password_file, tls, ca_file)
        cluster_id = register_cluster(control, project, wanted)
        command.say_fields({"id": cluster_id, "name": name}, json_)

    command.run_on(data, register)


def check(
    *,
    host: Hosts,
    role: Role = "stillhouse_backup",
    password_file: PasswordFile = None,
    tls: Tls = "verify-full",
    ca_file: CaFile = None,
    json_: Json = False,
) -> None:
    """Check a PostgreSQL server, registered or not; nothing is changed. Exit code 1 if it cannot be captured."""
    from stillhouse.control.clusters.registration import check_up_server
    from stillhouse.postgres.host.check_up import Weight

    def look() -> None:
        findings = check_up_server(_registration("", host, role, password_file, tls, ca_file))
        command.say_rows("findings", [_shown(one) for one in findings], json_)
        if any(one.weight is Weight.MUST for one in findings):
            raise InvalidInput("the server cannot be captured", hint="mend each finding that is a must")

    command.run(look)


def grants(*, role: Role = "stillhouse_backup") -> None:
    """Print the SQL that gives a role the rights that it needs. Run it in the database postgres, as a superuser."""
    from stillhouse.postgres.sessions.grants import script

    command.say(script(role).rstrip())


def _registration(
    name: str, hosts: Sequence[str], role: str, password_file: Path | None, tls: str, ca_file: Path | None
) -> "Registration":
    from stillhouse.control.clusters.registration import Registration

    password = "" if password_file else _password(role)
    return Registration(name, tuple(map(_host, hosts)), role, password, password_file, tls, ca_file)


def _host(text: str) -> tuple[str, int]:
    """Read HOST, HOST:PORT or [ADDRESS]:PORT."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = text, str(_PORT)
    if not port.isascii() or not port.isdigit():
        raise InvalidInput("a host is given as HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def _password(role: str) -> str:
    """Ask for the password. It is never taken from the command line, which everyone on the host can read."""
    if (given := os.environ.get(_PASSWORD)) is not None:
        return given
    return getpass.getpass(f"Password of {role}: ") if sys.stdin.isatty() else sys.stdin.readline().strip()


def _shown(finding: "Finding") -> dict[str, str]:
    return {
        "weight": finding.weight.value,
        "about": finding.about,
        "message": finding.message,
        "mend": finding.mend,
    }
