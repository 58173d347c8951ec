"""Many small files: a whole capture, an incremental one and a restore of 100,000 relations and of 1,000,000 files.

Run by `make bench-files`. The relations are real tables of one page. The further files are copies of such a page under
names that PostgreSQL would give, in the same database's directory, but its catalog does not know them: to a capture,
which goes by name and size, they are segments of relations like all others, and to PostgreSQL they are nothing.
"""

import argparse
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import PAGE, tell, write_result
from ours import Ours
from peers import bed
from rows import Row, console, hold_to, save
from spent import Spent

from stillhouse.domain.cluster import Node

WORKERS = 2
MOST_MIB = 256 + 64 * WORKERS
MOST_GROWTH = 1.3
MOST_OBJECTS_PER_FILE = 0.01
CHANGED = 100
_PER_TRANSACTION = 2_000
_FIRST_STRAY = 100_000_000  # far above the numbers that the server has come to
_COMPARED_EVERY = 997


def make_relations(node: Node, count: int) -> None:
    """Tables of a few rows, made without waiting for the disk; on the disk at the end."""
    tell(node, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    tell(
        node,
        f"DO $$ BEGIN FOR i IN 1..{count} LOOP"
        " EXECUTE format('CREATE TABLE public.small_%s (id int, n int)', i);"
        " EXECUTE format('INSERT INTO public.small_%s VALUES (1, %s), (2, %s), (3, %s)', i, i, i, i);"
        f" IF i % {_PER_TRANSACTION} = 0 THEN COMMIT; END IF;"
        " END LOOP; END $$",
        "CHECKPOINT",
        "ALTER SYSTEM RESET fsync",
        "SELECT pg_reload_conf()",
    )
    os.sync()


def directory(node: Node) -> Path:
    """Of the database that holds the relations: the fullest one."""
    databases = Path(node.directory, "pgdata", "base").iterdir()
    return max(databases, key=lambda path: sum(1 for _ in os.scandir(path)))


def add_files(node: Node, count: int) -> None:
    """Copies of a page of a real table, which is as sound in one relation as in another."""
    place = directory(node)
    newest = max(int(path.name) for path in place.iterdir() if path.name.isdigit())
    page, owner = (place / str(newest)).read_bytes(), place.stat()
    assert len(page) == PAGE
    for number in range(_FIRST_STRAY, _FIRST_STRAY + count):
        descriptor = os.open(place / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, page)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.close(descriptor)
    os.sync()


def change(node: Node, relations: int, draw: random.Random) -> None:
    tell(
        node,
        *(
            f"UPDATE public.small_{number} SET n = n + 1"
            for number in draw.sample(range(1, relations + 1), CHANGED)
        ),
        "CHECKPOINT",
    )


def assert_equal(node: Node, restored: Path) -> None:
    """All names and sizes of the database's files, and the bytes of some."""
    source = directory(node)
    copy = restored / "pgdata" / "base" / source.name
    names, compared = sizes(source), 0
    assert names == sizes(copy)
    for name in sorted(names)[::_COMPARED_EVERY]:
        assert (source / name).read_bytes() == (copy / name).read_bytes(), name
        compared += 1
    console.print(f"{len(names)} names and sizes restored are equal, and the bytes of {compared} of them")


def sizes(place: Path) -> dict[str, int]:
    """Of the files that a snapshot holds: a cache of the server's is left out."""
    with os.scandir(place) as entries:
        return {
            entry.name: entry.stat().st_size
            for entry in entries
            if not entry.name.startswith("pg_internal.init")
        }


def measure(ours: Ours, place: Path, relations: int, draw: random.Random) -> dict[str, Any]:
    """What each kind of work costs with the files that are there."""
    node, figures = ours.node, dict[str, Any]()

    def take(what: str, work: Callable[[], Spent]) -> None:
        before = objects(place)
        spent = work()
        assert ours.last is not None
        stored, files = objects(place) - before, sum(ours.last.files.values())
        figures[what] = {
            "files": files,
            "seconds": round(spent.seconds, 2),
            "cpu_seconds": round(spent.cpu_seconds, 2),
            "cpu_microseconds_per_file": round(spent.cpu_seconds * 1e6 / files, 1),
            "peak_mib": round(spent.peak_bytes / 2**20, 1),
            "objects_stored": stored,
        }
        console.print(what, figures[what])

    take("whole", ours.capture)
    change(node, relations, draw)
    take("incremental", lambda: ours.capture(incremental=True))
    take("restore", lambda: ours.restore(lambda restored: assert_equal(node, restored)))
    return figures


def objects(place: Path) -> int:
    return sum(1 for path in (place / "ours").rglob("*") if path.is_file())


def limits(few: dict[str, Any], many: dict[str, Any], relations: int, files: int) -> list[Row]:
    rows = []
    for what in few:
        less, more = few[what], many[what]
        rows += [
            hold_to(
                f"{what} of {files:,} small files: memory by that of {relations:,}",
                MOST_GROWTH,
                "times",
                [more["peak_mib"] / less["peak_mib"]],
            ),
            hold_to(f"{what} of {files:,} small files: memory", MOST_MIB, "MiB", [more["peak_mib"]]),
        ]
        if what != "restore":
            rows.append(
                hold_to(
                    f"{what} of {files:,} small files: objects stored for each file",
                    MOST_OBJECTS_PER_FILE,
                    "objects",
                    [more["objects_stored"] / more["files"]],
                )
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--relations", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    options = parser.parse_args()
    draw = random.Random(1)
    with bed(None, WORKERS) as (_, ours, place):
        make_relations(ours.node, options.relations)
        few = measure(ours, place, options.relations, draw)
        add_files(ours.node, options.files - options.relations)
        many = measure(ours, place, options.relations, draw)
    write_result("files", {"relations": options.relations, "few": few, "many": many})
    save(limits(few, many, options.relations, options.files))


if __name__ == "__main__":
    main()
