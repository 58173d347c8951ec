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
    not begun by then are left out. When all work has ended, its first cause is raised: an error other than Cancelled,
    if there is one.
    """
    stopped = Event()

    def check() -> None:
        if stopped.is_set():
            raise Cancelled("the work on another node has failed")

    def one(item: Item) -> Result:
        check()
        try:
            return work(item, check)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(one, item) for item in items]
        try:
            wait(futures)
        finally:  # Ctrl-C ends the wait early
            stopped.set()
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
        raise error
    return [future.result() for future in futures]
