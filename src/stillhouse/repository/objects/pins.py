"""Pins: the objects that work in progress needs before a root names them (docs/format.md, section 6)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from blake3 import blake3

from stillhouse.domain.object_kinds import Type
from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import open_bytes
from stillhouse.repository.format.fields import parse
from stillhouse.repository.format.sealed import Stored, seal
from stillhouse.storage.store import ObjectStore

CAPTURE = "capture"
COPY = "copy"
BEAT_SECONDS = 60.0


@dataclass(frozen=True)
class PinnedBase:
    """A manifest that the work builds on, at one node."""

    node: str
    manifest: Stored


@dataclass(frozen=True)
class Pin:
    """`started` is the time, by the store's clock, before any attempt at the snapshot stored anything."""

    id: str
    work: str
    snapshot: str
    attempt: int
    bases: tuple[PinnedBase, ...]
    started: datetime


def id_of(snapshot: str, attempt: int) -> str:
    """The id of an attempt's pin. A step that runs again has the same id, so no pin is left without an owner."""
    return blake3(f"stillhouse pin {snapshot} {attempt}".encode()).hexdigest(16)


def put(store: ObjectStore, keys: ClusterKeys, pin: Pin, heartbeat: datetime) -> None:
    """Publish the pin, or renew it as a sign that its work goes on. It is sealed with a fresh key each time."""
    body = {
        "work": pin.work,
        "snapshot": pin.snapshot,
        "attempt": pin.attempt,
        "bases": [_base_fields(base) for base in pin.bases],
        "started": pin.started.isoformat(),
        "heartbeat": heartbeat.isoformat(),
    }
    chunks = seal(keys, Type.PIN, pin.id, json.dumps(body, separators=(",", ":")).encode())
    store.put(layout.pin(str(keys.cluster), pin.id), chunks)


def remove(store: ObjectStore, cluster: str, ids: Sequence[str]) -> None:
    for pin_id in ids:
        store.delete(layout.pin(cluster, pin_id))


def find(store: ObjectStore, keys: ClusterKeys, pin_id: str) -> Pin | None:
    """The pin as last put; None when it is missing. Raises RepositoryDamaged when it cannot be understood."""
    key = layout.pin(str(keys.cluster), pin_id)
    try:
        opened = open_bytes(key, keys, store.get(key))
    except ObjectMissing:
        return None
    fields = parse(key, b"".join(opened.plain()))
    try:
        bases = tuple(
            PinnedBase(base["node"], Stored(base["manifest"], base["size"], base["hash"]))
            for base in fields["bases"]
        )
        started = datetime.fromisoformat(fields["started"])
        pin = Pin(pin_id, fields["work"], fields["snapshot"], int(fields["attempt"]), bases, started)
    except (KeyError, TypeError, ValueError):
        raise RepositoryDamaged(f"{key} is not a pin") from None
    if started.tzinfo is None:
        raise RepositoryDamaged(f"{key} holds a time without a zone")
    return pin


def _base_fields(base: PinnedBase) -> dict[str, object]:
    stored = base.manifest
    return {"node": base.node, "manifest": stored.id, "size": stored.size, "hash": stored.hash}
