"""Requests and memory of a publication and of a collection, after histories of 100, 1,000 and 10,000 roots.

The store is in memory, and counts. Half of the roots are tombstones; each published snapshot has 40 objects of its own.
"""

import json
import sys
import tracemalloc
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from stillhouse.clock import SystemClock
from stillhouse.domain.collection import Rules
from stillhouse.domain.ids import new_uuid
from stillhouse.repository.format.cipher_keys import Kek, create_or_open
from stillhouse.repository.objects import roots
from stillhouse.repository.upkeep import reach
from stillhouse.repository.upkeep.collect import Collector
from support.repositories.history import History
from support.stores.counting import Counting
from support.stores.dict_store import DictStore

RESULTS = Path(__file__).parent / "results" / "history.json"
SIZES = (100, 1000, 10_000)
RULES = Rules(timedelta(days=7), timedelta(days=7))


def measure(count: int) -> dict[str, Any]:
    """Measure at one size, in a process of its own. Memory is the most that a collection has allocated at a time."""
    store = DictStore()
    history = History(store, create_or_open(store, Kek(bytes(32)), new_uuid()), packs=36, maps=3).grow(count)
    first, first_bytes = _collect(history)
    published, named = _publish(history)
    second, second_bytes = _collect(history)
    return {
        "roots": count,
        "objects": len(store.objects),
        "publication": {**_told(published), "objects named": named},
        "first collection": {**_told(first), "MiB": first_bytes >> 20},
        "collection after one new snapshot": {**_told(second), "MiB": second_bytes >> 20},
    }


def _collect(history: History) -> tuple[Counter[str], int]:
    counted = Counting(history.store)
    tracemalloc.start()
    Collector(counted, history.keys, SystemClock(), RULES).collect()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return counted.calls, peak


def _publish(history: History) -> tuple[Counter[str], int]:
    _, stored, root = history.prepare()
    counted = Counting(history.store)
    below = list(reach.reached(counted, history.keys, stored))
    assert roots.publish(counted, history.keys, root, below) is not None
    return counted.calls, len(below)


def _told(calls: Counter[str]) -> dict[str, int]:
    pages = calls["list"] + calls["further pages"]
    return {"requests without listings": calls.total() - pages, "pages of listings": pages}


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
