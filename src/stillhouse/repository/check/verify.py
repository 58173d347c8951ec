"""Verification of packs: every frame is fetched once, opened and hashed, and the time is recorded as a scrub."""

import random
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from blake3 import blake3

from stillhouse.clock import Clock
from stillhouse.errors import ObjectMissing, RepositoryDamaged, Unavailable
from stillhouse.repository.check.structure import Checked, PackFacts
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import (
    HEADER_BYTES,
    SEALED_HEADER_BYTES,
    TAIL_BYTES,
    Container,
    proofs,
)
from stillhouse.repository.objects import scrubs
from stillhouse.repository.objects.faults import ALTERED, INCONSISTENT, MISSING, NOTHING, SIZE, Fault
from stillhouse.storage.store import ObjectStore

_RECORD_PACKS = (
    1000  # a killed run reads at most so many again; and a record never claims a later time than is known
)
_OTHER_PAGES = "has fingerprints of other pages"
_NEVER = datetime.min.replace(tzinfo=UTC)


class Rate:
    """Limits the bytes per second, across threads; 0 = no limit."""

    def __init__(self, bytes_per_second: int, clock: Clock) -> None:
        self._rate, self._clock = bytes_per_second, clock
        self._free_at = clock.monotonic()
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        if not self._rate:
            return
        with self._lock:
            now = self._clock.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
        if start > now:
            self._clock.sleep(start - now)


def due(checked: Checked, said: scrubs.Scrubs, before: datetime) -> list[PackFacts]:
    """Readable packs that were not read since `before`, in the same order."""
    return [pack for pack in longest_unread(checked, said) if _last(pack, said) < before]


def longest_unread(checked: Checked, said: scrubs.Scrubs) -> list[PackFacts]:
    """Readable packs, the ones that have waited longest first; equal ones in random order."""
    packs = [pack for pack in checked.packs.values() if not _is_lost(checked, pack)]
    random.shuffle(packs)
    return sorted(packs, key=lambda pack: _last(pack, said))


def _last(pack: PackFacts, said: scrubs.Scrubs) -> datetime:
    return max(pack.written or _NEVER, said.get(pack.id, _NEVER))


def _is_lost(checked: Checked, pack: PackFacts) -> bool:
    return not pack.is_open or checked.place.faults.is_lost(layout.pack(checked.place.cluster, pack.id))


def verify(
    checked: Checked,
    packs: Iterable[PackFacts],
    *,
    rate: Rate,
    clock: Clock,
    on_read: Callable[[int], None] = lambda count: None,
) -> int:
    """Read these packs whole, as many at once as the check has workers. Returns their bytes.

    Faults join the faults of the check; sound packs are recorded in the repository. `on_read` is called with the bytes
    of each finished pack; an error that it raises ends the work.
    """
    place = checked.place
    assert place.keys is not None
    store, keys = place.store, place.keys

    def prove_one(pack: PackFacts) -> tuple[PackFacts, datetime, Fault | None]:
        rate.take(pack.size)
        begun = clock.now()
        return pack, begun, prove(store, keys, pack)

    total, sound = 0, dict[str, datetime]()
    try:
        for pack, begun, fault in place.each(prove_one, packs):
            total += pack.size
            if fault is None:
                sound[pack.id] = begun
                checked.sound.add(layout.pack(place.cluster, pack.id))
            else:
                place.charge(fault)
            if len(sound) == _RECORD_PACKS:
                _record(checked, sound)
                sound = {}
            on_read(pack.size)
    finally:
        if sound:  # also when the work is stopped: packs already read need not be read again
            _record(checked, sound)
    return total


def _record(checked: Checked, sound: dict[str, datetime]) -> None:
    """Record the sound packs. A store that refuses writes is verified all the same."""
    assert checked.place.keys is not None
    if not checked.unrecorded:
        try:
            scrubs.record(checked.place.store, checked.place.keys, sound, min(sound.values()))
        except Unavailable as error:
            checked.unrecorded = str(error)


def prove(store: ObjectStore, keys: ClusterKeys, pack: PackFacts) -> Fault | None:
    """The fault of a pack, with its lost frames; None when it is as it was stored."""
    key = layout.pack(str(keys.cluster), pack.id)
    try:
        stored = memoryview(store.get_range(key, 0, pack.size))
    except ObjectMissing:
        return Fault(key, MISSING, "is gone")
    except RepositoryDamaged:
        return Fault(key, SIZE, f"has {store.size(key)} bytes, {pack.size} were stored")
    try:
        opened = Container(key, keys, bytes(stored[pack.index :]), _cut_from(stored), pack.size)
    except RepositoryDamaged as error:
        if blake3(stored).hexdigest() == pack.hash:
            return None  # it asks for other keys, or a newer program
        return Fault(key, ALTERED, error.message.removeprefix(f"{key} "))
    lost, marks = _lost_frames(opened, stored, keys)
    if lost:
        return Fault(key, ALTERED, f"{len(lost)} of {len(opened.frames)} frames do not open", frozenset(lost))
    if blake3(stored).hexdigest() == pack.hash:
        return None if opened.fingerprints() == marks else Fault(key, INCONSISTENT, _OTHER_PAGES, NOTHING)
    try:
        opened.fingerprints()
    except RepositoryDamaged:
        return Fault(key, ALTERED, "has fingerprints that do not open", NOTHING)
    if blake3(_mended(stored)).hexdigest() == pack.hash:
        return Fault(key, ALTERED, "differs from what was stored, but not in its frames", NOTHING)
    # The pack is sealed but is not the one in the manifest. The writer has the cluster's keys and may have written
    # anything.
    return Fault(key, ALTERED, "is sound in itself, but not the pack that was stored")


def _mended(stored: memoryview) -> bytes:
    """The pack with its unsealed parts restored: the first header, and the last bytes of the other one."""
    tail = len(stored) - TAIL_BYTES
    header = bytes(stored[tail : tail + SEALED_HEADER_BYTES]).ljust(HEADER_BYTES, b"\0")
    return b"".join((header, stored[HEADER_BYTES:tail], header, stored[tail + HEADER_BYTES :]))


def _cut_from(stored: memoryview) -> Callable[[int, int], bytes]:
    return lambda offset, length: bytes(stored[offset : offset + length])


def _lost_frames(opened: Container, stored: memoryview, keys: ClusterKeys) -> tuple[list[int], bytes]:
    """Ordinals of frames that do not open, and the fingerprints of the pages of the others."""
    lost: list[int] = []
    marks: list[bytes] = []
    for frame in opened.frames:
        try:
            plain = opened.frame(frame.ordinal, stored[frame.offset : frame.offset + frame.stored])
        except RepositoryDamaged:
            lost.append(frame.ordinal)
            continue
        if frame.pages:
            marks.append(proofs(keys, plain, frame.kind, frame.plain // frame.pages)[1])
    return lost, b"".join(marks)
