"""The way that an attempt takes to a node: its backup session, its WAL and its files, by the node's place."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.readers.node_files import NodeFiles
from stillhouse.postgres.readers.remote import RemoteReader
from stillhouse.postgres.wal.backup import BackupSession, Facts
from stillhouse.postgres.wal.feed import SegmentFiles, WalFeed, wal_tree
from stillhouse.postgres.wal.slot import WalPosition
from stillhouse.postgres.wal.stream import WalStream


@dataclass(frozen=True)
class Way:
    """`free` returns the bytes free on the disk that holds the WAL. It is `None` where nothing can tell."""

    held: BackupSession
    feed: WalFeed
    free: Callable[[], int] | None
    files: Callable[[Facts], NodeFiles]


def open_way(node: Node, slot: str, undo: ExitStack) -> Way:
    """Reserve the node's WAL from now on, under the name `slot`. All that is opened is closed by `undo`.

    Raises as BackupSession does.
    """
    return _by_connection(node, slot, undo) if node.connection else _here(node, slot, undo)


def _here(node: Node, slot: str, undo: ExitStack) -> Way:
    held = BackupSession(node, slot)
    undo.callback(held.close)
    position = WalPosition(node)
    undo.callback(position.close)
    account = _account(node)
    data = Path(node.directory, "pgdata")
    tree = wal_tree(data, account)
    wal = tree.directory("pg_wal")

    def files(facts: Facts) -> NodeFiles:
        return LocalReader(data, facts.tablespace_directory, owner=account, log_directory=facts.log_directory)

    return Way(
        held, SegmentFiles(held, position, tree), lambda: shutil.disk_usage(wal.descriptor).free, files
    )


def _by_connection(node: Node, slot: str, undo: ExitStack) -> Way:
    """The slot is the stream's, and comes first: the start of the backup must find its WAL kept."""
    position = WalPosition(node)
    undo.callback(position.close)
    stream = WalStream(node, slot, position)
    undo.callback(stream.close)
    held = BackupSession(node, slot, has_slot=False)
    undo.callback(held.close)

    def files(facts: Facts) -> NodeFiles:
        reader = RemoteReader(node, facts)
        undo.callback(reader.close)
        return reader

    return Way(held, stream, None, files)


def _account(node: Node) -> int:
    """Return the account that the server runs as: the owner of the node's directory.

    The owner can be trusted, because the directory above belongs to the service. The files in it may have any owner.
    """
    return Path(node.directory).lstat().st_uid
