"""A backup's session in a process of its own, which a test kills."""

import threading
from multiprocessing.connection import Connection

from stillhouse.domain.cluster import Node
from stillhouse.postgres.wal.backup import BackupSession


def hold_for_ever(node: Node, name: str, beat_seconds: float, pipe: Connection, *, fast: bool) -> None:
    """Tells when it holds the slot, and when it is in backup mode."""
    backup = BackupSession(node, name, beat_seconds=beat_seconds)
    pipe.send("holding")
    backup.start(fast=fast)
    pipe.send("started")
    threading.Event().wait()
