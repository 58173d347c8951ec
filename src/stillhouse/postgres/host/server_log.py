"""Bounds a server's log, which a tenant can fill: any failing statement is written there."""

import os
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.postgres.files.tree import Tree

NAME, EARLIER = "server.log", "server.log.1"
MOST_BYTES, KEPT_BYTES = 32 << 20, 16 << 20


def rotate(node: Node, most_bytes: int = MOST_BYTES, kept_bytes: int = KEPT_BYTES) -> bool:
    """Keep the end of a log that is too large as `server.log.1`, and empty the log. Tells whether it was too large.

    The server goes on writing: pg_ctl's shell opened the file for appending, so the next line is the first of the
    emptied file. Lines written between the copy and the emptying are lost. PostgreSQL's own collector would lose none,
    but takes effect with a restart only, and a tenant's superuser could switch its limits off. Raises FileRefused for a
    log that is not the account's.
    """
    tree = Tree(Path(node.directory))
    try:
        log = os.fdopen(tree.open(NAME), "rb")
    except FileNotFoundError:
        return False
    with log:
        size = log.seek(0, os.SEEK_END)
        if size <= most_bytes:
            return False
        log.seek(size - kept_bytes)
        tree.replace(EARLIER, log.read(kept_bytes))
        # The file that was checked, whatever lies at its name by now.
        os.close(os.open(f"/proc/self/fd/{log.fileno()}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC))
    return True
