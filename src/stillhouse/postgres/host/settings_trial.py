"""Trial of settings: finds out whether PostgreSQL accepts them, without starting a server.

`postgres -C` prints the value of a setting, as soon as the server would know it. shared_memory_size is known only after
every library is loaded, in PostgreSQL 15 and later (PostmasterMain in postmaster.c).
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.errors import InvalidInput
from stillhouse.postgres.host.binaries import Binaries

_SECONDS = 60.0
# The words around the cause in a line of a server's log, and the lines that only follow from the cause.
_LINE = re.compile(r'^.*?\b[A-Z]+:\s+| in file ".*" line \d+$')
_NO_CAUSE = re.compile("configuration file .* contains errors|skipping missing configuration file")


def why_not_taken(binaries: Binaries, node: Node, settings: Mapping[str, str]) -> str:
    """Say why the node's server, which must not run, would refuse the settings. Empty if it would accept them. The path
    of a config_file among them is relative to the node's directory.

    Libraries are loaded, as the node's account. It is not tried whether there is enough memory.
    """
    return _ask(binaries.of(node), Path(node.directory), "pgdata", "shared_memory_size", settings)


def check_settings(binaries: Binaries, settings: Mapping[str, str]) -> None:
    """Raise InvalidInput for a setting that PostgreSQL does not know, or a value that it does not accept."""
    if not settings:
        return
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as place:
        empty = Path(place, "postgresql.conf")
        empty.touch()
        if binaries.account is not None:
            for path in (empty, place):
                os.chown(path, binaries.account.uid, binaries.account.gid)
        for name, value in settings.items():
            if why := _ask(binaries, Path(place), ".", name, {name: value}):
                raise InvalidInput(f"{name} cannot be {value!r}: {why}")


def check_encryption(binaries: Binaries) -> None:
    """Raise InvalidInput if clients on other hosts are to be encrypted and this PostgreSQL cannot do it."""
    if binaries.outside is None or binaries.outside.certificate is None:
        return
    try:
        check_settings(binaries, {"ssl": "on"})
    except InvalidInput as error:
        raise InvalidInput(
            f"{binaries.directory} holds a PostgreSQL that cannot encrypt: {error.message}",
            hint="the PostgreSQL of the Python packages is built without TLS, Debian's with it: name the directory of"
            f" one of version {binaries.major} in STILLHOUSE_PG_BINS, or accept it by --insecure",
        ) from error


def _ask(binaries: Binaries, place: Path, data: str, name: str, settings: Mapping[str, str]) -> str:
    chosen = [part for each, value in settings.items() for part in ("-c", f"{each}={value}")]
    # No path on the command line: everyone on the host may read it, and the path contains the cluster's id.
    answer = binaries.run(
        "postgres",
        "-C",
        name,
        *chosen,
        timeout=_SECONDS,
        directory=str(place),
        environment={"PGDATA": data},
    )
    if not answer.returncode:
        return ""
    said = [_LINE.sub("", line).strip() for line in answer.stderr.splitlines()]
    return " / ".join(line for line in said if line and not _NO_CAUSE.match(line)) or "it says nothing"
