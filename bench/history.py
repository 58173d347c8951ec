"""Requests and memory of a publication and of collections, after histories of 100, 1,000 and 10,000 roots.

The store is in memory, and counts. Half of the roots are tombstones; each published snapshot has 40 objects of its own,
and names those of the up to 15 snapshots that it builds on. The first collection finds no facts, as in a repository
that only an older program has collected.
"""

import json
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Rules
from stillhouse.domain.ids import new_uuid
from stillhouse.repository.format.cipher_keys import ClusterKeys, Kek, create_or_open
from stillhouse.repository.objects import roots
from stillhouse.repository.upkeep import reach
from stillhouse.repository.upkeep.collect import Collector
from stillhouse.storage.store import StoredObject
from support.repositories.history import History
from support.stores.counting import Counting
from support.stores.dict_store import DictStore

RESULTS = Path(__file__).parent / "results" / "history.json"
SIZES = (100, 1000, 10_000)
RULES = Rules(timedelta(days=7), timedelta(days=7))
_A_WEEK = timedelta(days=8)  # more than the grace, and more than the time in the trash


class Listed(DictStore):
    """A store whose listings take no memory of their own."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for key in list(self.objects):
            if key.startswith(prefix) and (found := self.stat(key)) is not None:
                yield found


@dataclass
class Measured:
    """One history, and the rows of what was done in it."""

    store: DictStore
    keys: ClusterKeys
    rows: dict[str, dict[str, float]]

    def collect(self, title: str) -> None:
        """Collect once, and count."""
        counted, began = Counting(self.store), time.process_time()
        done = Collector(counted, self.keys, SystemClock(), RULES).collect()
        cpu = round(time.process_time() - began, 2)
        self.rows[title] = {**told(counted.calls), "objects deleted": done.deleted, "CPU seconds": cpu}

    def draft(self, title: str) -> None:
        """Make the plan of a collection. Memory is the most that it has allocated at a time."""
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in Collector(self.store, self.keys, SystemClock(), RULES).draft()[1]:
            pass
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        self.rows[title] = {"MiB": round(peak / (1 << 20), 1)}

    def publish(self, title: str, history: History) -> str:
        """Publish one more snapshot, with all checks of a publication, and return its id. Its manifest is read."""
        _, stored, root = history.prepare()
        counted = Counting(self.store)
        below = list(reach.reached(counted, self.keys, stored))
        assert roots.publish(counted, self.keys, root, below) is not None
        self.rows[title] = {**told(counted.calls), "objects named": len(below)}
        return root.snapshot


def measure(count: int) -> dict[str, Any]:
    """Measure at one size, in a process of its own."""
    store = Listed()
    keys = create_or_open(store, Kek(bytes(32)), new_uuid())
    history = History(store, keys, packs=36, maps=3).grow(count)
    while len(history.published) % 16 != 8:  # so that the next one builds on eight at each size
        history.add()
    measured = Measured(store, keys, {})
    measured.collect("first collection")
    snapshot = measured.publish("publication", history)
    measured.collect("collection after one new snapshot")
    measured.collect("collection with nothing new")
    measured.draft("memory of a plan")
    roots.mark_trash(store, keys, snapshot, store.now.isoformat())
    store.now += _A_WEEK
    measured.collect("collection that purges a snapshot")
    store.now += _A_WEEK
    measured.collect("collection that deletes its objects")
    return {"roots": count, "objects": len(store.objects), **measured.rows}


def told(calls: Counter[str]) -> dict[str, float]:
    """Requests by whether history can make them more: a listing has one page for each 1,000 objects there are."""
    pages = calls["list"] + calls["further pages"]
    deletes = calls["delete"]
    return {
        "reads and writes": calls.total() - pages - deletes,
        "deletes": deletes,
        "pages of listings": pages,
    }


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        rows = list(pool.map(measure, sizes))
    for row in rows:
        sys.stdout.write(json.dumps(row, indent=1) + "\n")
    if not sys.argv[1:]:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
