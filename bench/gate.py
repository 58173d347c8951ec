"""What cuts cost those who write, by the number of distributed tables: one warehouse of a coordinator and eight data
nodes that grows, writers all over its tables, and cuts, with witnesses, as a snapshot takes them.

Run by `make bench-gate`. The pause of a cut is the longest that any one write took which was on its way while the cut
was taken, its rehearsal and all. Beside it stand what the cut had told beforehand, its own time with the gate shut,
and the same look at writers for as long a while without a cut.
"""

import argparse
import json
import multiprocessing
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection as Channel
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from measure import RESULTS, write_result
from rows import hold_to, save

from stillhouse.domain.cluster import Cluster
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cut.witness import Witnesses
from stillhouse.warehouse.gate.lock_plan import Expected
from support.databases.many_tables import distribute_many
from support.databases.writers import Bank, Connection
from support.servers import warehouses
from support.snapshots.captures import take_one

DATA_NODES = 8
HELD_TO, LARGEST = 1000, 10_000
SIZES = (1, 100, 300, HELD_TO, 3000, LARGEST)
CUTS = {HELD_TO: 150, LARGEST: 50}
CUTS_ELSE = 30
MOST_MS = 100.0
WRITERS = 4
REST_SECONDS = 0.01  # between the transactions of each: cores that are all taken would be what is measured
TABLES_EACH = 250  # of all, drawn at random: a session remembers each that it has written to
IDLE_SECONDS = 0.3

Write = tuple[float, float]
Span = tuple[float, float]


class Writers:
    """Processes that write to tables all over, two rows in each transaction, and note how long each write took.

    As threads of this process they would wait for its interpreter while it takes a cut, and it for them.
    """

    def __init__(self, bank: Bank, tables: int) -> None:
        self._bank, self._tables = bank, tables
        self._channels: list[Channel] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        started = multiprocessing.get_context("spawn")
        processes = []
        for place in range(WRITERS):
            own, theirs = started.Pipe()
            self._channels.append(own)
            processes.append(started.Process(target=write, args=(self._bank, self._tables, place, theirs)))
            processes[-1].start()
        try:
            self.longest(lambda: None)
            yield
        finally:
            for channel in self._channels:
                channel.send(None)
            for process in processes:
                process.join(60)

    def longest(self, during: Callable[[], object]) -> float:
        """Seconds that any one write took which was on its way meanwhile."""
        begun = time.monotonic()
        during()
        for channel in self._channels:
            channel.send((begun, time.monotonic()))
        longest: list[float] = [channel.recv() for channel in self._channels]
        return max(longest)


def write(bank: Bank, tables: int, place: int, channel: Channel) -> None:
    """Write until told to stop; for each span of time asked for, tell the longest write that was on its way in it."""
    draw = random.Random(place)
    known = draw.sample(range(tables), min(tables, TABLES_EACH))
    writes: list[Write] = []
    span: Span | None = None
    with bank.connect() as connection:
        while True:
            if span is None and channel.poll():
                span = channel.recv()
                if span is None:
                    return
            time.sleep(REST_SECONDS)
            table = f"many_{draw.choice(known)}"
            with connection.transaction():
                for row in draw.sample(range(64), 2):
                    writes.append(timed(connection, table, row))
            if span is not None and writes[-1][0] >= span[1]:
                met = [end - begin for begin, end in writes if end >= span[0] and begin <= span[1]]
                channel.send(max(met, default=0.0))
                writes.clear()
                span = None


def timed(connection: Connection, table: str, row: int) -> Write:
    begun = time.monotonic()
    connection.execute(f"INSERT INTO {table} VALUES (%s, 1)".encode(), [row])
    return begun, time.monotonic()


def measure(cluster: Cluster, writers: Writers, cuts: int) -> dict[str, list[float]]:
    """Milliseconds, cut by cut, and how often each was tried."""
    found: dict[str, list[float]] = {name: [] for name in ("told", "own", "writers", "no cut", "tries")}

    def cut() -> None:
        told: list[Expected] = []
        with Witnesses() as witnesses:
            taken = take_one(cluster, witnesses=witnesses, tell=told.append)
        found["told"].append(told[-1].pause_seconds * 1000)
        found["own"].append(taken.pause_seconds * 1000)
        found["tries"].append(taken.tries)

    for _ in range(cuts):
        found["writers"].append(writers.longest(cut) * 1000)
        found["no cut"].append(writers.longest(lambda: time.sleep(IDLE_SECONDS)) * 1000)
    return found


def summed_up(tables: int, found: dict[str, list[float]]) -> dict[str, Any]:
    def figures(values: Sequence[float]) -> dict[str, float]:
        p99 = statistics.quantiles(values, n=100, method="inclusive")[-1]
        known = {"median": statistics.median(values), "p99": p99, "most": max(values)}
        return {name: round(value, 1) for name, value in known.items()}

    pauses = {name: figures(values) for name, values in found.items() if name != "tries"}
    return {
        "tables": tables,
        "locks": tables * (DATA_NODES + 1),
        "cuts": len(found["own"]),
        "median_tries": statistics.median(found["tries"]),
        "most_tries": max(found["tries"]),
        "pause_ms": pauses,
    }


def draw_plot(sizes: Sequence[dict[str, Any]]) -> None:
    mpl.use("Agg")
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    tables = [size["tables"] for size in sizes]
    lines = {
        "longest write around a cut, p99": ("writers", "p99", "o-"),
        "longest write around a cut, median": ("writers", "median", "o--"),
        "gate shut, median": ("own", "median", "s-"),
        "told beforehand, median": ("told", "median", "x:"),
        "longest write, no cut, median": ("no cut", "median", ".-"),
    }
    for label, (name, figure_of, style) in lines.items():
        axes.plot(tables, [size["pause_ms"][name][figure_of] for size in sizes], style, label=label)
    axes.plot([HELD_TO], [MOST_MS], "_", color="tab:red", markersize=26, label="must, p99")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"distributed tables on a coordinator and {DATA_NODES} data nodes")
    axes.set_ylabel("ms")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(RESULTS / "gate.png", dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--keep", action="store_true", help="write no results")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="shb-", dir="/var/tmp"))
    root.chmod(0o755)
    site = embedded.open_site(root)
    cluster = warehouses.build(site, DATA_NODES)
    bank, made, sizes = Bank(cluster, warehouses.PASSWORD), 0, []
    try:
        for tables in asked.sizes:
            distribute_many(bank, made, tables - made)
            made = tables
            writers = Writers(bank, tables)
            with writers.at_work():
                measure(cluster, writers, 2)
                sizes.append(summed_up(tables, measure(cluster, writers, CUTS.get(tables, CUTS_ELSE))))
            print(sizes[-1], flush=True)
    finally:
        embedded.destroy(site, cluster.id)
        shutil.rmtree(root)
    if not asked.keep:
        keep(sizes)


def keep(sizes: Sequence[dict[str, Any]]) -> None:
    """Write the results. Sizes that were not measured this time stay as they were."""
    path = RESULTS / "gate.json"
    known = json.loads(path.read_text())["sizes"] if path.exists() else []
    table = {size["tables"]: size for size in [*known, *sizes]}
    every = [table[tables] for tables in sorted(table)]
    write_result("gate", {"data_nodes": DATA_NODES, "writers": WRITERS, "sizes": every})
    draw_plot(every)
    save([row for size in sizes for row in rows_of(size)])


def rows_of(size: dict[str, Any]) -> list[dict[str, Any]]:
    around = f"of {size['tables']} tables on {DATA_NODES} data nodes"
    if size["tables"] == HELD_TO:
        name = f"longest write around a cut {around}, p99 of {size['cuts']} cuts"
        return [hold_to(name, MOST_MS, "ms", [size["pause_ms"]["writers"]["p99"]])]
    if size["tables"] == LARGEST:
        return [hold_to(f"tries of a cut {around}, median", 1, "tries", [size["median_tries"]])]
    return []


if __name__ == "__main__":
    main()
