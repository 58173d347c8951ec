"""A capture over connections alone: beside pg_basebackup over the same loopback, and its bytes on the wire by kind.

Run by `make bench-remote`. Both sides compress on the client's side at the same level with as many threads, and both
results are on the disk at the end. Ours is encrypted, has its WAL and can be restored; theirs has no WAL.
"""

import argparse
import random
import secrets
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from measure import PAGE, change_pages, make_table, server, tell, write_result
from ours import Ours
from peers import PG15, bed, databases, fill_caches
from relay import WAL, Relay, relay_to
from rivals import bytes_below, own, run
from rows import Row, console, hold_to, pair_up, save
from spent import Spent, measured

from stillhouse.domain import relation_files
from stillhouse.domain.cluster import Cluster
from stillhouse.postgres.host import server as servers
from stillhouse.postgres.readers.node_files import FileRuns, Got, Pieces
from stillhouse.postgres.readers.remote import RemoteReader
from stillhouse.repository.format.container import ZSTD_LEVEL
from support.servers.registered import PASSWORD, ROLE, registered
from support.snapshots.captures import capture_cluster

WORKERS = 2
SHARE = 0.01
MUST, MOST_PAGES = 1.0, 1.2
FILES = "stillhouse files"
# PostgreSQL 18 of the Python packages is built without zstd, so there its stream is piped into the program.
_BY_CLIENT = f"--compress=client-zstd:level={ZSTD_LEVEL},workers={WORKERS}"
_BY_PIPE = f"| zstd -q -{ZSTD_LEVEL} -T{WORKERS}"


class Piped:
    """pg_basebackup over TCP into a pipe, compressed on the client's side, synced; not encrypted, without WAL."""

    def __init__(self, ours: Ours, place: Path, major: int) -> None:
        self._ours, self._home, self._major = ours, own(ours.site.binaries, place / "piped"), major

    def capture(self) -> Spent:
        binaries, node = self._ours.site.binaries, self._ours.node
        target = self._home / secrets.token_hex(4)
        program = shlex.quote(str(binaries.directory / "pg_basebackup"))
        at = f"-w -h {node.host} -p {node.port} -U {ROLE} -D - -Ft -X none -c fast"
        compressed = f"{_BY_CLIENT} | " if self._major < 18 else f"{_BY_PIPE} | "
        line = f"set -o pipefail; PGPASSWORD={PASSWORD} {program} {at} {compressed} dd of={target} bs=1M conv=fsync"
        try:
            with measured(servers.process_id(node)) as spent:
                run(binaries, "bash", "-c", f"{line} status=none")
            spent.stored_bytes = bytes_below(self._home)
        finally:
            target.unlink(missing_ok=True)
        return spent


def whole(major: int, pages: int, runs: int) -> Row:
    """Whole captures in pairs."""
    with bed(PG15 if major == 15 else None, WORKERS) as (site, ours, place):
        make_table(ours.node, pages)
        remote = Ours(site, registered(ours.cluster, place), place / "remote", WORKERS, served=ours.node)
        theirs = Piped(ours, place, major)

        peer = "client-zstd" if major < 18 else "a pipe into zstd"
        return pair_up(
            f"remote, whole, PostgreSQL {major}",
            f"pg_basebackup with {peer}, level {ZSTD_LEVEL}, {WORKERS} threads",
            MUST,
            remote.capture,
            theirs.capture,
            runs,
            partial(fill_caches, databases(ours.node)),
        )


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the bytes that remote readers read, by the kind of their files."""
    counted: Counter[str] = Counter()
    really_read, really_read_to_end = RemoteReader.read, RemoteReader.read_to_end

    def read(reader: RemoteReader, wanted: Sequence[FileRuns], into: memoryview) -> Sequence[Got]:
        got = really_read(reader, wanted, into)
        for one, length in zip(wanted, got, strict=True):
            counted[kind_of(one.path)] += length if isinstance(length, int) else 0
        return got

    def read_to_end(reader: RemoteReader, files: Sequence[tuple[str, int]], piece: int) -> Iterator[Pieces]:
        for (path, _), pieces in zip(files, really_read_to_end(reader, files, piece), strict=True):
            yield each(path, pieces) if isinstance(pieces, Iterator) else pieces

    def each(path: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            counted[kind_of(path)] += len(piece)
            yield piece

    with mock.patch.multiple(RemoteReader, read=read, read_to_end=read_to_end):
        yield counted


def kind_of(path: str) -> str:
    relation = relation_files.relation_file(path)
    if relation is None:
        return "other_files"
    if relation.kind is not relation_files.Kind.FORK:
        return "pages"
    return (
        "free_space_maps" if path.rpartition("/")[2].partition(".")[0].endswith("_fsm") else "visibility_maps"
    )


def incremental(pages: int, runs: int) -> dict[str, Any]:
    """The bytes of incremental captures of SHARE of the pages, as they pass a relay."""
    with server() as (_, cluster, vault):
        node, draw = cluster.coordinator, random.Random(3)
        make_table(node, pages)
        there = registered(cluster, Path(node.directory).parent)
        with relay_to(node.host, node.port) as relay, counting() as by_kind:
            behind = through(there, relay)
            base, found = capture_cluster(behind, vault), []
            for _ in range(runs):
                changed = change_pages(node, pages, SHARE, draw)
                tell(node, "CHECKPOINT")
                relay.counted.clear()
                by_kind.clear()
                base = capture_cluster(behind, vault, base=base)
                assert base.captured[node.name].base, base.captured[node.name].whole_because
                found.append(told(changed, relay.counted, by_kind, base.captured[node.name].wal_bytes))
    return {"live_bytes": base.captured[node.name].plain_bytes, "each": found}


def through(cluster: Cluster, relay: Relay) -> Cluster:
    (node,) = cluster.nodes
    assert node.connection is not None
    there = replace(node.connection, hosts=(("127.0.0.1", relay.port),))
    return replace(cluster, nodes=(replace(node, connection=there),))


def told(changed: int, counted: Counter[str], by_kind: Counter[str], wal_bytes: int) -> dict[str, int]:
    """Bytes by kind. The listing is all that the sessions for files carry besides the files' bytes."""
    files = {name: by_kind[name] for name in ("pages", "free_space_maps", "visibility_maps", "other_files")}
    return {
        "changed_pages": changed,
        **files,
        "listing_and_protocol": counted[FILES] - sum(files.values()),
        "wal": counted[WAL],
        "wal_kept": wal_bytes,
        "other_sessions": counted.total() - counted[FILES] - counted[WAL],
        "all": counted.total(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=120_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=("15", "18", "bytes"))
    asked = parser.parse_args()
    parts = asked.only or ("15", "18", "bytes")
    rows = [whole(int(part), asked.pages, asked.runs) for part in parts if part != "bytes"]
    if "bytes" in parts:
        result = incremental(asked.pages, asked.runs)
        console.print(result)
        write_result("remote", result)
        gigabytes = result["live_bytes"] / 1e9
        name = f"remote, incremental of {SHARE:.0%} of {gigabytes:.1f} GB: pages read for a changed page"
        read = [one["pages"] / PAGE / one["changed_pages"] for one in result["each"]]
        rows.append(hold_to(name, MOST_PAGES, "pages", read))
    save(rows)


if __name__ == "__main__":
    main()
