"""The requests that have arrived and wait for the event loop, and the bound on their number."""

import asyncio

from stillhouse.errors import Overloaded

# Light reads of less than a tenth of a second.
_MOST_WAITING = 64
_RETRY_AFTER_SECONDS = 1


class Turns:
    """Counts the requests that wait for their turn. It belongs to one event loop."""

    def __init__(self, most_waiting: int = _MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._waiting = 0

    async def take(self) -> None:
        """Wait for the event loop's next round. Raises Overloaded if too many requests behind this one wait, too.

        The loop begins all requests that have arrived before it goes on with the first one, so they can be counted
        here. The last ones are answered: their senders have waited for the shortest time.
        """
        self._waiting += 1
        await asyncio.sleep(0)
        self._waiting -= 1
        if self._waiting >= self._most_waiting:
            raise Overloaded(
                f"{self._waiting} requests wait for their turn", retry_after=_RETRY_AFTER_SECONDS
            )
