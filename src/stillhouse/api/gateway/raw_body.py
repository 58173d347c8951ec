"""Request bodies as bytes: read once, up to a limit, and then passed to the framework."""

from starlette.types import Message, Receive

from stillhouse.api.gateway.errors import BodyTooLarge

# The cloud gateway's limit.
MAX_BODY_BYTES = 12 * 2**20


class ClientGone(Exception):
    """The client hung up while its body was being read, so no answer can be sent."""


async def read_body(receive: Receive, limit: int = MAX_BODY_BYTES, *, keep: bool = True) -> bytes:
    """Read and return the whole body; without `keep`, read it and return nothing. Raises BodyTooLarge, ClientGone.

    Chunked bodies do not say their length, so it is counted.
    """
    body, size, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            allowed = f"{limit >> 20} MB" if limit >= 2**20 else f"{limit >> 10} KB"
            raise BodyTooLarge(f"The body is larger than {allowed}.")
        if keep:
            body += chunk
        more = message.get("more_body", False)
    return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the buffered body once, then the server's further messages."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return messages.pop() if messages else await receive()

    return give
