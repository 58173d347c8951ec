"""What the service adds around the captures of a snapshot, and the memory of all its processes: `make bench-service`.

Node work is the time for which there are workers. Snapshots are incremental but the first; memory is its peak in each.
"""

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
from measure import change_pages, make_table, tell
from rows import Row, hold_to, save

from support.processes.service import Service, serving

MOST_SECONDS = 0.5
MOST_MIB = 256 + 64 * 2  # two workers, as captures have where nothing else is set
NODES, MOST_MIB_OF_NODES = 8, 512
SHARE = 0.01
_EVERY_SECONDS = 0.2


class Memory:
    """The peak of the service's processes, its servers apart; proportional set size, in MiB."""

    def __init__(self, service: Service) -> None:
        self._service, self._over, self.peak = service, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        service = psutil.Process(self._service.pid)
        while not self._over.wait(_EVERY_SECONDS):
            total = 0
            for process in (service, *service.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    if "postgres" not in process.name():
                        total += process.memory_full_info().pss
            self.peak = max(self.peak, total / 2**20)


def take(service: Service, cluster: str, name: str) -> float:
    """Seconds that a snapshot took from its request to AVAILABLE, those apart for which workers were there."""
    begun = time.monotonic()
    snapshot = service.request_snapshot(cluster, name)
    first = last = 0.0
    while True:
        with suppress(FileNotFoundError, ProcessLookupError):  # a process that is just ending
            if service.workers():
                last = time.monotonic()
                first = first or last
        ((status,),) = service.rows("SELECT status FROM sh_snapshots WHERE id = ?", snapshot)
        if status != "CREATING":
            assert status == "AVAILABLE", service.reason(snapshot)
            return time.monotonic() - begun - (last - first)
        time.sleep(0.003)


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="shb-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)  # the servers' account passes through
        yield Path(place)


def measure(pages: int, runs: int) -> list[Row]:
    """A cluster with a table of so many pages."""
    with _place() as place, serving(place / "data") as service:
        cluster = service.create_cluster("measured", 1)
        (node,) = service.nodes(cluster)
        make_table(node, pages)
        tell(node, "CHECKPOINT")
        names = (f"measured-{number}" for number in count())
        with Memory(service) as memory:
            take(service, cluster, next(names))
        whole, around, draw = memory.peak, [], random.Random(1)
        with Memory(service) as memory:
            for _ in range(runs):
                change_pages(node, pages, SHARE, draw)
                tell(node, "CHECKPOINT")
                around.append(take(service, cluster, next(names)))
        size = f"{pages * 8192 / 1e9:.1f} GB"
        return [
            hold_to(f"the service around an incremental capture of {size}", MOST_SECONDS, "s", around),
            hold_to(f"memory of a whole snapshot of {size}, service and workers", MOST_MIB, "MiB", [whole]),
            hold_to(
                f"memory of incremental ones of {size}, service and workers", MOST_MIB, "MiB", [memory.peak]
            ),
        ]


def measure_nodes(pages: int) -> list[Row]:
    """A cluster of many nodes on this host, with a table of so many pages on each."""
    with _place() as place, serving(place / "data") as service:
        cluster = service.create_cluster("measured", NODES)
        for node in service.nodes(cluster):
            make_table(node, pages)
        with Memory(service) as memory:
            take(service, cluster, "measured")
        name = f"memory of a whole snapshot of {NODES} nodes, service and workers"
        return [hold_to(name, MOST_MIB_OF_NODES, "MiB", [memory.peak])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, nargs="*", default=(50_000, 200_000))
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    for pages in options.pages:
        save(measure(pages, options.runs))
    save(measure_nodes(min(options.pages) // NODES))


if __name__ == "__main__":
    main()
