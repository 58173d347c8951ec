"""Server-sent events: the parts of a page are read anew while somebody looks at it, and sent when they have changed.

A stream waits on the event loop; it takes a thread for each look alone. It looks when the catalog has changed, and now
and then besides, since sessions end by time.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from starlette.types import Receive, Send

from stillhouse.errors import Overloaded

_MOST, _MOST_OF_SESSION = 64, 6
_ROUND_SECONDS = 1.0
_LOOK_SECONDS = 15.0
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back
]
OVER = "over"
"""The event that ends a stream: the page has to be asked for anew. Browsers do not come back then."""

Parts = Mapping[str, str]


class Streams:
    """Counts the streams that are open. Used by the event loop's thread only."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def place(self, session: str) -> Iterator[None]:
        """Count a stream of a session. Raises Overloaded if it, or all sessions together, have too many."""
        if self._open.total() >= _MOST or self._open[session] >= _MOST_OF_SESSION:
            raise Overloaded("too many pages are being watched")
        self._open[session] += 1
        try:
            yield
        finally:
            self._open[session] -= 1
            if not self._open[session]:
                del self._open[session]


async def watch(
    look: Callable[[], Awaitable[Parts]],
    version: Callable[[], int | None],
    is_shutting_down: Callable[[], bool],
    headers: list[tuple[bytes, bytes]],
    receive: Receive,
    send: Send,
) -> None:
    """Send parts until the browser is gone, the service stops, or a look gives `OVER`.

    `version` changes with each commit to the catalog; it is `None` where a catalog cannot tell, and is looked at then.
    """
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, *_HEADERS]})
    await _send(send, "retry: 2000\n\n")
    gone = asyncio.ensure_future(_gone(receive))
    sent: dict[str, str] = {}
    at, looked = version(), -_LOOK_SECONDS
    is_first = True
    try:
        while not gone.done() and not is_shutting_down():
            now = version()
            if is_first or now is None or now != at or monotonic() - looked >= _LOOK_SECONDS:
                is_first, at, looked = False, now, monotonic()
                parts = await look()
                news = {name: html for name, html in parts.items() if sent.get(name) != html}
                await _send(send, "".join(_event(name, html) for name, html in news.items()) or ":\n\n")
                sent.update(news)
                if OVER in parts:
                    break
            await asyncio.wait([gone], timeout=_ROUND_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        gone.cancel()


def _event(name: str, html: str) -> str:
    lines = "".join(f"data: {line}\n" for line in html.splitlines() or [""])
    return f"event: {name}\n{lines}\n"


async def _send(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode("utf-8", "replace"), "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
