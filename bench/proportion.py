"""The same changed pages on clusters of 1, 2 and 4 times the size: what an incremental capture reads, stores and takes.

Run by `make bench-proportion`.
"""

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from measure import RESULTS, change_pages, make_table, server, tell, write_result
from rich.console import Console
from rich.table import Table
from rows import hold_to, save

from support.snapshots.captures import Vault, capture_cluster
from support.stores.counting import Counting

CHANGED = 1000


def measure(pages: int, runs: int, draw: random.Random) -> dict[str, Any]:
    """Medians over `runs` captures, each after CHANGED pages changed."""
    with server() as (_, cluster, vault):
        node = cluster.coordinator
        make_table(node, pages)
        base = capture_cluster(cluster, vault)
        found = []
        for _ in range(runs):
            change_pages(node, pages, CHANGED / pages, draw)
            tell(node, "CHECKPOINT")  # writing dirty pages back is the server's work, not the capture's
            counting = Counting(vault.store)
            started = time.perf_counter()
            base = capture_cluster(cluster, Vault(counting, vault.keys), base=base)
            seconds = time.perf_counter() - started
            captured = base.captured[node.name]
            found.append((seconds, captured, counting.calls.total()))
        captured = found[-1][1]
        return {
            "live_bytes": captured.plain_bytes,
            "read_bytes": statistics.median(one.read_bytes for _, one, _ in found),
            "pages_stored": statistics.median(one.pages_stored for _, one, _ in found),
            "stored_bytes": statistics.median(one.stored_bytes for _, one, _ in found),
            "store_calls": statistics.median(calls for *_, calls in found),
            "seconds": statistics.median(seconds for seconds, *_ in found),
            "each_seconds": [seconds for seconds, *_ in found],
        }


def draw_plot(rows: dict[int, dict[str, Any]], target: Path) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    first = rows[min(rows)]
    fields = ("live_bytes", "read_bytes", "pages_stored", "store_calls", "seconds")
    for position, field in enumerate(fields):
        heights = [row[field] / first[field] for row in rows.values()]
        places = [number + (position - 2) * 0.16 for number in range(len(rows))]
        axes.bar(places, heights, 0.15, label=field.replace("_", " "))
    axes.set_xticks(range(len(rows)), [f"{times}x" for times in rows])
    axes.set_ylabel("times the smallest cluster's")
    axes.set_xlabel(f"size of the cluster; {CHANGED} pages changed at random each time")
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=50_000, help="of the smallest cluster")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    draw = random.Random(1)
    rows = {times: measure(arguments.pages * times, arguments.runs, draw) for times in (1, 2, 4)}
    save(
        [
            hold_to(
                "an incremental capture of a cluster four times larger, as many pages changed",
                1.3,
                "times",
                [larger / rows[1]["seconds"] for larger in rows[4]["each_seconds"]],
            )
        ]
    )
    write_result("proportion", {"changed_pages": CHANGED, "runs": arguments.runs, "by_size": rows})
    draw_plot(rows, RESULTS / "proportion.png")
    fields = [field for field in rows[1] if field != "each_seconds"]
    table = Table("size", *fields)
    for times, row in rows.items():
        table.add_row(f"{times}x", *(str(row[field]) for field in fields))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
