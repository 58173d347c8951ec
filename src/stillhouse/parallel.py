"""The same work on all nodes at once: the first failure stops the others, and is the error that is raised."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

from stillhouse.errors import Cancelled

Item = TypeVar("Item")
Result = TypeVar("Result")


def at_once(
    work: Callable[[Item, Callable[[], None]], Result], items: Sequence[Item], threads: int
) -> list[Result]:
    """Run `work(item, check)` for all items, at most `threads` at a time, and return the results in order.

    `work` calls `check` again and again; it raises Cancelled once another item's work has failed. Items whose work has
    not begun by then are left out. When all work has ended, the failure that came first is raised.
    """
    stopped = Event()
    # The earliest first: the others may only report that they were stopped.
    failures: list[BaseException] = []

    def check() -> None:
        if stopped.is_set():
            raise Cancelled("the work on another node has failed")

    def one(item: Item) -> Result:
        check()
        try:
            return work(item, check)
        except BaseException as error:
            failures.append(error)
            stopped.set()
            raise

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(one, item) for item in items]
        try:
            wait(futures)
        finally:  # Ctrl-C ends the wait early
            stopped.set()
    if failures:
        raise failures[0]
    return [future.result() for future in futures]
