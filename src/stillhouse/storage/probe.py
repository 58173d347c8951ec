"""Tests by trying whether a store keeps the promises that snapshots rest on."""

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from stillhouse.errors import InvalidInput
from stillhouse.storage.local import LocalStore
from stillhouse.storage.store import ObjectStore

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_CREATORS = 16


@dataclass(frozen=True)
class _Round:
    """All creators start at one moment; those of one key compete."""

    keys: int
    size: int


# A store that checks first and writes then has one winner most of the time, by luck. Different loads betray it: many
# writers of one key, few writers of several keys, a body that takes a while to come in. A store that fails at one key
# in fourteen passes these 90 about once in a thousand starts.
_ROUNDS = [_Round(keys, size) for _ in range(5) for size in (64, 16 << 10) for keys in (1, 4, 4)]
_FEW_ROUNDS = _ROUNDS[:3]  # for a directory: there the kernel decides who wins, by link(2)


def probe(store: ObjectStore) -> None:
    """Prove one winner of a conditional create, read after write, and ranges. Raises InvalidInput.

    Some services ignore the condition of a conditional create, always or now and then, and some (OpenStack Swift's
    object server) check it before they write but not while they do: several writers are told that they have won.
    """
    key = f"probe/{secrets.token_hex(16)}"
    try:
        _prove_reading(store, key)
    finally:
        store.delete(key)
    with ThreadPoolExecutor(_CREATORS) as creators:
        for one in _FEW_ROUNDS if isinstance(store, LocalStore) else _ROUNDS:
            keys = [f"probe/{secrets.token_hex(16)}" for _ in range(one.keys)]
            try:
                _prove_one_winner(store, creators, keys, one.size)
            finally:
                _each(creators, store.delete, keys)


def _prove_one_winner(
    store: ObjectStore, creators: ThreadPoolExecutor, keys: Sequence[str], size: int
) -> None:
    start = threading.Barrier(_CREATORS)
    tries = [(keys[number % len(keys)], secrets.token_bytes(size)) for number in range(_CREATORS)]

    def create(one: tuple[str, bytes]) -> bool:
        start.wait()
        return store.create(one[0], [one[1]])

    answers = _each(creators, create, tries)

    def look(key: str) -> None:
        competing = [won for (tried, _), won in zip(tries, answers, strict=True) if tried == key]
        winners = [
            content for (tried, content), won in zip(tries, answers, strict=True) if tried == key and won
        ]
        if len(winners) != 1:
            raise _unfit(f"{len(winners)} of {len(competing)} concurrent writers won one conditional create")
        if store.get(key) != winners[0]:
            raise _unfit("a conditional create answered that it won, but other bytes are stored")
        if store.create(key, [b"too late"]):
            raise _unfit("a conditional create replaced an object")

    _each(creators, look, keys)


def _each(
    creators: ThreadPoolExecutor, call: Callable[[Item], Answer], items: Sequence[Item]
) -> list[Answer]:
    """Run all at once and return their answers. If one fails, the others end first, to write nothing later."""
    running = [creators.submit(call, item) for item in items]
    wait(running)
    return [one.result() for one in running]


def _prove_reading(store: ObjectStore, key: str) -> None:
    content = secrets.token_bytes(64 * 1024)
    store.put(key, [content])
    if store.size(key) != len(content) or store.get(key) != content:
        raise _unfit("a read after a write did not return the written bytes")
    if store.get_range(key, 1000, 500) != content[1000:1500]:
        raise _unfit("a read of a range returned other bytes")


def _unfit(what: str) -> InvalidInput:
    return InvalidInput(
        f"this object store cannot hold snapshots: {what}",
        hint="use a store that honours 'If-None-Match: *', 'Range' and read-after-write",
    )
