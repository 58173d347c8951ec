"""What witnesses cost the writers: the pause of cuts with and without them, taken by turns, under four writers.

Run by `make bench-witness`.
"""

import shutil
import statistics
import tempfile
from pathlib import Path

from measure import write_result

from stillhouse.warehouse import embedded
from stillhouse.warehouse.witness import Witnesses
from support import warehouses
from support.captures import take_one
from support.writers import found_bank, writing

PAIRS = 40
WRITERS = 4


def main() -> None:
    root = Path(tempfile.mkdtemp(prefix="shb-", dir="/var/tmp"))
    root.chmod(0o755)
    site = embedded.open_site(root)
    cluster = warehouses.build(site, 2)
    pauses: dict[str, list[float]] = {"without": [], "with": []}
    proven = 0
    try:
        with writing(found_bank(cluster, warehouses.PASSWORD), WRITERS):
            for _ in range(PAIRS):
                pauses["without"].append(take_one(cluster).pause_seconds)
                with Witnesses() as witnesses:
                    cut = take_one(cluster, witnesses=witnesses)
                pauses["with"].append(cut.pause_seconds)
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
    result = {"pairs": PAIRS, "writers": WRITERS, "proven": proven, "pause_ms": milliseconds}
    write_result("witness", result)
    print(result)


if __name__ == "__main__":
    main()
