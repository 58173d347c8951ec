"""Bodies: counted as they come, and bounded together where their senders are not proven."""

import asyncio

import pytest
from starlette.types import Message

from stillhouse.api.gateway.errors import BodyTooLarge
from stillhouse.api.gateway.raw_body import UnprovenBodies, read_body
from stillhouse.errors import Overloaded


def body_of(
    *pieces: bytes, keep: bool = True, limit: int = 100, bodies: UnprovenBodies | None = None
) -> bytes:
    left = list(pieces)

    async def receive() -> Message:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    with (bodies or UnprovenBodies(1000)).share() as take:
        return asyncio.run(read_body(receive, limit, keep=keep, take=take))


def test_bodies_of_unproven_senders_are_bounded_together() -> None:
    bodies = UnprovenBodies(100)
    with bodies.share() as first, bodies.share() as second:
        first(60)
        second(40)
        with pytest.raises(Overloaded) as refused:
            second(1)
        assert refused.value.retry_after > 0
    assert body_of(b"a" * 50, b"a" * 50, bodies=bodies) == b"a" * 100  # all of it is free again


def test_a_body_that_is_not_kept_takes_nothing() -> None:
    assert body_of(b"a" * 50, b"a" * 50, keep=False, bodies=UnprovenBodies(0)) == b""


def test_a_refused_body_gives_back_its_share() -> None:
    bodies = UnprovenBodies(150)
    with pytest.raises(BodyTooLarge):
        body_of(b"a" * 90, b"a" * 90, bodies=bodies)
    assert body_of(b"a" * 100, bodies=bodies) == b"a" * 100
