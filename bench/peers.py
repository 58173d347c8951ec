"""Stillhouse beside the field's tools, in pairs on the same server: `make bench`.

Each row is the median of the pairs' ratios (theirs / ours: above 1 we are better), with the least and the greatest.
Same compression level, same number of workers, both synced; warm cache unless the row says cold.
"""

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from measure import change_pages, make_table, tell
from ours import Ours
from rivals import BaseBackup, IncrementalBackup, PgBackRest, Restic, password_file, run
from rows import Row, Work, hold_to, pair_up, save
from spent import Spent

from stillhouse.domain.cluster import Node
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.servers import warehouses

PG15 = Path("/usr/lib/postgresql/15/bin")
SHARE = 0.01


def drop_caches() -> None:
    Path("/proc/sys/vm/drop_caches").write_text("3")


def fill_caches(*places: Path) -> None:
    """Read the files there once: what nobody has read for a while is not in memory any more."""
    for path in (path for place in places for path in place.rglob("*")):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def databases(node: Node) -> Path:
    return Path(node.directory, "pgdata", "base")


@contextmanager
def bed(pg_bin: Path | None, workers: int = 2) -> Iterator[tuple[Site, Ours, Path]]:
    place = Path(tempfile.mkdtemp(prefix="shb-", dir="/var/tmp"))
    place.chmod(0o755)
    # The peers run as the one account that all share.
    site = embedded.open_site(place, pg_bin=pg_bin, claim=lambda _: "")
    cluster = warehouses.build(site, 1)
    os.environ["PGPASSFILE"] = str(password_file(site.binaries, cluster.coordinator, place))
    try:
        tell(
            cluster.coordinator,
            "ALTER SYSTEM SET autovacuum = off",
            "ALTER SYSTEM SET max_wal_size = '8GB'",
            "SELECT pg_reload_conf()",
        )
        yield site, Ours(site, cluster, place, workers), place
    finally:
        embedded.destroy(site, cluster.id)
        shutil.rmtree(place)


def fill_pgbench(site: Site, node: Node, scale: int) -> None:
    programs = PG15 if PG15.exists() else site.binaries.directory
    run(
        site.binaries, programs / "pgbench", "-i", "-q", "-I", "dtGvp", "-s", str(scale), "-h", node.socket, "-p",
        str(node.port), "-U", "stillhouse", "postgres",
    )  # fmt: skip
    tell(node, "CHECKPOINT")


def on_15(scale: int, pages: int, runs: int, data: str) -> list[Row]:
    """Full captures, restores, and incrementals by scan, on Debian's PostgreSQL 15."""
    rows: list[Row] = []
    with bed(PG15) as (site, ours, place):
        node = ours.node
        if data == "pgbench rows":
            fill_pgbench(site, node, scale)
        make_table(node, pages if data != "pgbench rows" else 20_000)
        tell(node, "CHECKPOINT")
        rest = PgBackRest(site.binaries, node, place)
        tar = BaseBackup(site.binaries, node, place)
        restic = Restic(node, place)
        warm = partial(after, partial(fill_caches, databases(node)))
        read = partial(after, partial(fill_caches, place / "ours", rest.repo))
        cold = partial(after, drop_caches)

        def full(what: str, peer: str, must: float, before: Callable[[Work], Work], theirs: Work) -> None:
            rows.append(pair_up(f"{what}, {data}", peer, must, before(ours.capture), before(theirs), runs))

        def published(what: str, megabytes_per_second: int) -> None:
            """The last row beside what the cloud service publishes for each of its data nodes."""
            assert ours.last is not None
            each = [seconds / (ours.last.plain_bytes / 1e9) for seconds in rows[-1]["our_seconds"]]
            name = f"{what} of 1 GB, {data}; the cloud service: {megabytes_per_second} MB/s a node"
            rows.append(hold_to(name, 1000 / megabytes_per_second, "s", each, must=3.0))

        full("full", "pgBackRest 2.45", 1.3, warm, rest.capture)
        published("full", 200)
        full("full", "pg_basebackup server-zstd:1,workers=2", 0.8, warm, tar.capture)
        full("full, cold", "pgBackRest 2.45", 1.3, cold, rest.capture)
        full("full", "restic", 1.3, warm, restic.capture)
        rest.capture()
        rows.append(
            pair_up(f"restore, {data}", "pgBackRest 2.45", 1.4, read(ours.restore), read(rest.restore), runs)
        )
        published("restore", 125)
        ours.capture()
        draw, held = random.Random(1), pages if data != "pgbench rows" else 20_000

        def change() -> None:
            change_pages(node, held, SHARE * 5 if data == "pgbench rows" else SHARE, draw)
            tell(node, "CHECKPOINT")

        rows.append(
            pair_up(
                f"incremental by scan, {data}",
                "pgBackRest 2.45, PG 15",
                2.0,
                lambda: ours.capture(incremental=True),
                lambda: rest.capture(incremental=True),
                runs,
                change,
            )
        )
    return rows


def after(first: Callable[[], None], work: Work) -> Work:
    def both() -> Spent:
        first()
        return work()

    return both


def on_18(pages: int, runs: int) -> list[Row]:
    """Incrementals by WAL summaries, on the PostgreSQL that comes with us."""
    with bed(None) as (site, ours, place):
        node = ours.node
        make_table(node, pages)
        tell(node, "CHECKPOINT")
        ours.capture()
        theirs = IncrementalBackup(site.binaries, node, place)
        draw = random.Random(2)

        def change() -> None:
            theirs.full()
            change_pages(node, pages, SHARE, draw)
            tell(node, "CHECKPOINT")

        return [
            pair_up(
                "incremental to a restorable snapshot, 1 % of pages",
                "pg_basebackup --incremental + pg_combinebackup",
                4.0,
                lambda: ours.capture(incremental=True),
                theirs.capture,
                runs,
                change,
            )
        ]


def by_workers(pages: int, runs: int) -> list[Row]:
    """The same full capture and restore by 1, 2 and 4 workers, each beside one."""
    rows = []
    with bed(None) as (_, ours, place):
        make_table(ours.node, pages)
        tell(ours.node, "CHECKPOINT")

        def with_workers(number: int, work: Callable[[Ours], Spent]) -> Work:
            def do() -> Spent:
                fill_caches(databases(ours.node), place / "ours")
                ours.workers = number
                return work(ours)

            return do

        for what, work in (("full", Ours.capture), ("restore", Ours.restore)):
            for number in (2, 4):
                rows.append(
                    pair_up(
                        f"{what}, {number} workers",
                        "1 worker",
                        1.0,
                        with_workers(number, work),
                        with_workers(1, work),
                        runs,
                    )
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=int, default=150, help="pgbench scale")
    parser.add_argument("--pages", type=int, default=320_000, help="pages of the table that compresses 2:1")
    parser.add_argument("--only", nargs="*", choices=("pgbench", "half", "incremental", "workers"))
    options = parser.parse_args()
    parts: dict[str, Callable[[], list[Row]]] = {
        "pgbench": lambda: on_15(options.scale, options.pages, options.runs, "pgbench rows"),
        "half": lambda: on_15(options.scale, options.pages, options.runs, "2:1 data"),
        "incremental": lambda: on_18(options.pages, options.runs),
        "workers": lambda: by_workers(options.pages // 2, max(options.runs - 2, 2)),
    }
    for name in options.only or parts:
        save(parts[name]())


if __name__ == "__main__":
    main()
