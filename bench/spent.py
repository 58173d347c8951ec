"""What a piece of work cost: wall time, CPU of everything that took part, memory of the process tree at its peak."""

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

# To look at it costs a reading of every mapping: often enough would be a load of its own.
_EVERY_SECONDS = 0.5


@dataclass
class Spent:
    """`cpu_seconds` includes the PostgreSQL server's; `peak_bytes` is the proportional set size of what was started."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    stored_bytes: int = 0


@contextmanager
def measured(postmaster: int | None) -> Iterator[Spent]:
    """Work is done by processes below this one, which have ended and been waited for at the end, and by the server."""
    spent, over = Spent(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(spent, over))
    cpu, started = _cpu(postmaster), time.perf_counter()
    watcher.start()
    try:
        yield spent
    finally:
        spent.seconds = time.perf_counter() - started
        spent.cpu_seconds = _cpu(postmaster) - cpu
        over.set()
        watcher.join()


def _cpu(postmaster: int | None) -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = children.ru_utime + children.ru_stime
    # Those that workers are forked of have waited for them.
    waiting = psutil.Process().children()
    others = []
    if postmaster is not None:
        server = psutil.Process(postmaster)
        waiting, others = [*waiting, server], server.children(recursive=True)
    for process in (*waiting, *others):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
            if process in waiting:
                total += times.children_user + times.children_system
    return total


def _watch(spent: Spent, over: threading.Event) -> None:
    while not over.wait(_EVERY_SECONDS):
        total = 0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        spent.peak_bytes = max(spent.peak_bytes, total)
