"""Limits on the head of a request, and on the length of its body that the head declares."""

from starlette.types import Scope

from stillhouse.api.gateway import errors
from stillhouse.api.gateway.raw_body import too_large
from stillhouse.errors import InvalidInput

# The cloud gateway's limits.
MAX_URI_BYTES = 32 * 2**10
MAX_HEADER_BYTES = 32 * 2**10
MAX_HEADERS_BYTES = 128 * 2**10
# Not the cloud's: each header costs time, however short it is. Clients send about ten.
MAX_HEADERS = 200


def check_limits(scope: Scope) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URI_BYTES:
        raise errors.UriTooLong("The URI is longer than 32 KB.")
    if len(scope["headers"]) > MAX_HEADERS:
        raise errors.HeadersTooLarge(f"There are more than {MAX_HEADERS} headers.")
    sizes = [len(name) + len(value) for name, value in scope["headers"]]
    if sum(sizes) > MAX_HEADERS_BYTES or any(size > MAX_HEADER_BYTES for size in sizes):
        raise errors.HeadersTooLarge("A header is longer than 32 KB, or all of them than 128 KB.")


def check_length(scope: Scope, most: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length" and _length(value) > most:
            raise too_large(most)


def has_body(scope: Scope) -> bool:
    """Tell from the headers whether a body follows; by HTTP/1.1 one of two announces it (RFC 9112, 6.3)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _length(declared: bytes) -> int:
    """Read the declared length. The server in front may pass on a text that is no number."""
    if not declared.isdigit() or len(declared) > 20:
        raise InvalidInput("The Content-Length is not a number.")
    return int(declared)
