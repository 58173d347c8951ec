"""Request bodies as bytes: read once, up to a limit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Receive

from stillhouse.api.gateway.errors import BodyTooLarge
from stillhouse.errors import Overloaded

Take = Callable[[int], None]


class ClientGone(Exception):
    """The client hung up while its body was being read, so no answer can be sent."""


class UnprovenBodies:
    """Bounds the memory of bodies whose senders have not proven who they are, all of them together.

    Used by the event loop's thread only.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0

    @contextmanager
    def share(self) -> Iterator[Take]:
        """Give a function that counts bytes of one body, until the end of the context.

        The function raises Overloaded if these bytes would be too many.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self._held + size > self._most:
                raise Overloaded("too many requests of unknown senders are being read")
            taken += size
            self._held += size

        try:
            yield take
        finally:
            self._held -= taken


async def read_body(receive: Receive, limit: int, *, keep: bool = True, take: Take | None = None) -> bytes:
    """Read and return the whole body; without `keep`, read it and return nothing.

    Chunked bodies do not say their length, so it is counted. `take` is told of each piece before it is kept, and may
    refuse it. Raises BodyTooLarge, ClientGone.
    """
    body, size, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        if keep:
            if take is not None:
                take(len(chunk))
            body += chunk
        more = message.get("more_body", False)
    return bytes(body)


def too_large(limit: int) -> BodyTooLarge:
    """Return the refusal of a body of more than `limit` bytes."""
    allowed = f"{limit >> 20} MB" if limit >= 2**20 else f"{limit >> 10} KB"
    return BodyTooLarge(f"The body is larger than {allowed}, the most that this operation takes.")
