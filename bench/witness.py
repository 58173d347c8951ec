"""What cuts cost the writers, with witnesses and without, taken by turns: the pause as the cut has it, and at four
writers the longest that one of their transfers took meanwhile.

Run by `make bench-witness`.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measure import write_result
from rows import hold_to, save

from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cut.witness import Witnesses
from support.databases.writers import Writer, found_bank, writing
from support.servers import warehouses
from support.snapshots.captures import take_one

PAIRS = 200
WRITERS = 4
MOST_SECONDS = 0.1


def longest(writers: Sequence[Writer], after_seconds: float) -> float:
    """The longest transfer since this was last asked, whoever still waits included."""
    time.sleep(after_seconds)
    found = max(writer.longest_seconds for writer in writers)
    for writer in writers:
        writer.longest_seconds = 0.0
    return found


def main() -> None:
    root = Path(tempfile.mkdtemp(prefix="shb-", dir="/var/tmp"))
    root.chmod(0o755)
    site = embedded.open_site(root)
    cluster = warehouses.build(site, 2)
    pauses: dict[str, list[float]] = {
        "without": [],
        "with": [],
        "at the writers": [],
        "at the writers, no cut": [],
    }
    proven = 0
    try:
        with writing(found_bank(cluster, warehouses.PASSWORD), WRITERS) as writers:
            for _ in range(PAIRS):
                pauses["without"].append(take_one(cluster).pause_seconds)
                longest(writers, 2 * MOST_SECONDS)
                pauses["at the writers, no cut"].append(longest(writers, 2 * MOST_SECONDS))
                with Witnesses() as witnesses:
                    cut = take_one(cluster, witnesses=witnesses)
                pauses["with"].append(cut.pause_seconds)
                pauses["at the writers"].append(longest(writers, 2 * MOST_SECONDS))
                proven += all(point.witness.snapshots for point in cut.points)
    finally:
        embedded.destroy(site, cluster.id)
        shutil.rmtree(root)
    milliseconds = {
        name: {
            "median": round(statistics.median(seconds) * 1000, 2),
            "least": round(min(seconds) * 1000, 2),
            "most": round(max(seconds) * 1000, 2),
        }
        for name, seconds in pauses.items()
    }
    name = f"longest transfer of {WRITERS} writers around a cut of a coordinator and 2 data nodes, p99"
    slowest = statistics.quantiles(pauses["at the writers"], n=100)[-1]
    save([hold_to(name, MOST_SECONDS * 1000, "ms", [1000 * slowest])])
    result = {"pairs": PAIRS, "writers": WRITERS, "proven": proven, "pause_ms": milliseconds}
    write_result("witness", result)
    print(result)


if __name__ == "__main__":
    main()
