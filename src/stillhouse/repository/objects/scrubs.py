"""Records of when each pack was last read whole (docs/format.md, section 6), and the age of the oldest."""

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import Type, most_of
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.fields import parse
from stillhouse.repository.format.sealed import open_small, seal
from stillhouse.storage.store import ObjectStore, StoredObject

_ID = 16
_PACK_BYTES = 100  # of a pack in a record, at most: each may have a time of its own
_MOST_RECORDS = 8  # above this number they are joined into one

Scrubs = dict[str, datetime]
"""For each pack, when it was last read whole and found sound."""


@dataclass(frozen=True)
class ScrubAge:
    """For some packs: when the one that has waited longest was last read, and which have waited longer than allowed."""

    oldest: datetime | None
    overdue: tuple[str, ...]


def age(
    packs: Iterable[str],
    written: Mapping[str, datetime],
    scrubbed: Mapping[str, datetime],
    now: datetime,
    max_age: timedelta,
) -> ScrubAge:
    """The scrub age of these packs. Writing a pack counts as reading it. A pack without a known time is overdue."""
    times = {pack: last_read(pack, written, scrubbed) for pack in packs}
    known = [time for time in times.values() if time is not None]
    overdue = sorted(pack for pack, time in times.items() if time is None or now - time > max_age)
    return ScrubAge(min(known, default=None), tuple(overdue))


def overdue(
    store: ObjectStore, keys: ClusterKeys, written: Mapping[str, datetime], now: datetime, max_age: timedelta
) -> tuple[str, ...]:
    """The packs, of those `written` at these times, that were last read whole too long ago.

    Records are read only if a pack is old enough for that.
    """
    waiting = age(written, written, {}, now, max_age).overdue
    return age(waiting, written, read(store, keys), now, max_age).overdue if waiting else ()


def last_read(
    pack: str, written: Mapping[str, datetime], scrubbed: Mapping[str, datetime]
) -> datetime | None:
    return max((times[pack] for times in (written, scrubbed) if pack in times), default=None)


def written(store: ObjectStore, cluster: str) -> dict[str, datetime]:
    """When each present pack was written, by the store's clock."""
    return {found.key.rpartition("/")[2]: found.modified for found in store.list(layout.packs_of(cluster))}


def read(store: ObjectStore, keys: ClusterKeys) -> Scrubs:
    """Join all records. A record that is gone or does not open is skipped, so packs only seem older than they are."""
    return _read(store, keys, store.list(layout.scrubs_of(str(keys.cluster))))


def _read(store: ObjectStore, keys: ClusterKeys, records: Iterable[StoredObject]) -> Scrubs:
    found: Scrubs = {}
    for stored in records:
        try:
            opened = open_small(store, keys, stored.key, stored.size)
            said = _decode(stored.key, b"".join(opened.plain()))
        except (ObjectMissing, RepositoryDamaged):
            continue
        for pack, time in said.items():
            # The store's clock limits a wrong clock of the writer. The time in the record limits a record that is put
            # back.
            time = min(time, stored.modified)
            found[pack] = max(time, found.get(pack, time))
    return found


def record(store: ObjectStore, keys: ClusterKeys, packs: Collection[str], since: datetime) -> None:
    """Record that these packs were read whole, the first of them not before `since`. Joins records if there are many.

    The joined record is durable before the old ones are removed. A crash between these leaves both, which agree.
    """
    cluster = str(keys.cluster)
    if packs:
        _store(store, keys, dict.fromkeys(packs, since))
    records = list(store.list(layout.scrubs_of(cluster)))
    if len(records) <= _MOST_RECORDS:
        return
    there = written(store, cluster)
    said = _read(store, keys, records)
    _store(store, keys, {pack: time for pack, time in said.items() if pack in there})
    for joined in records:
        store.delete(joined.key)


def _store(store: ObjectStore, keys: ClusterKeys, said: Scrubs) -> None:
    by_time: dict[datetime, list[str]] = {}
    # The packs read last are recorded, as many as a record may hold. The others are read again.
    newest = sorted(said.items(), key=lambda one: one[1], reverse=True)[: most_of(Type.SCRUB) // _PACK_BYTES]
    for pack, time in sorted(newest):
        by_time.setdefault(time, []).append(pack)
    groups = [
        {"time": time.isoformat(), "packs": base64.b64encode(bytes.fromhex("".join(packs))).decode()}
        for time, packs in sorted(by_time.items())
    ]
    body = json.dumps({"format": 1, "scrubs": groups}, separators=(",", ":")).encode()
    scrub_id = new_hex()
    store.put(layout.scrub(str(keys.cluster), scrub_id), seal(keys, Type.SCRUB, scrub_id, body))


def _decode(key: str, body: bytes) -> Scrubs:
    said: Scrubs = {}
    try:
        for group in parse(key, body)["scrubs"]:
            time = datetime.fromisoformat(group["time"]).astimezone(UTC)
            ids = base64.b64decode(group["packs"], validate=True)
            for at in range(0, len(ids), _ID):
                pack = ids[at : at + _ID].hex()
                said[pack] = max(time, said.get(pack, time))
    except (KeyError, TypeError, ValueError):
        raise RepositoryDamaged(f"{key} is not a record of scrubs") from None
    return said
