"""Pins: they keep an attempt's bases and stored parts from being collected while the attempt is at work."""

from contextlib import suppress

from stillhouse.catalog import captures, snapshots
from stillhouse.control.flow_context import FlowContext
from stillhouse.domain.cluster import Cluster
from stillhouse.errors import RepositoryDamaged, Unavailable
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import findings, pins, roots
from stillhouse.repository.objects.faults import ALTERED, Fault
from stillhouse.repository.objects.pins import Pin, PinnedBase
from stillhouse.storage.store_clock import store_time


def pin_attempt(place: FlowContext, snapshot_id: str, cluster: Cluster, attempt: int) -> None:
    """Pin the bases that the attempt may be offered, and all parts that any attempt at this snapshot has stored.

    The new pin is there before the pins of earlier attempts go. It covers the time since the first of them began.
    """
    keys = place.vault.keys_or_new(cluster.id)
    earlier = [pins.id_of(snapshot_id, number) for number in range(1, attempt)]
    begun = [pin.started for one in earlier if (pin := pins.find(place.vault.store, keys, one)) is not None]
    pin = Pin(
        id=pins.id_of(snapshot_id, attempt),
        work=pins.CAPTURE,
        snapshot=snapshot_id,
        attempt=attempt,
        bases=(*_bases(place, keys, cluster), *_parts(place, snapshot_id, cluster)),
        started=min(begun) if begun else store_time(place.vault.store, place.control.clock),
    )
    pins.put(place.vault.store, keys, pin, place.control.clock.now())
    pins.remove(place.vault.store, cluster.id, earlier)


def beat(place: FlowContext, snapshot_id: str, cluster_id: str, attempt: int) -> None:
    """Show that the attempt goes on. A store that is away does not matter: a pin lasts for an hour.

    The call does not wait for the store, because a cancellation would have to wait too.
    """
    place = place.hurried
    with suppress(Unavailable):
        keys = place.vault.keys(cluster_id)
        if (pin := pins.find(place.vault.store, keys, pins.id_of(snapshot_id, attempt))) is not None:
            pins.put(place.vault.store, keys, pin, place.control.clock.now())


def unpin(place: FlowContext, snapshot_id: str, cluster_id: str) -> None:
    """Remove the pins, once the root's key is taken. A pin that cannot be removed now goes stale, and a collection
    removes it.
    """
    with place.control.database.reading() as reading:
        attempts = range(1, captures.latest_attempt(reading, snapshot_id) + 1)
    with suppress(Unavailable):
        place.vault.check_identity()
        pins.remove(place.vault.store, cluster_id, [pins.id_of(snapshot_id, number) for number in attempts])


def is_pinned(place: FlowContext, keys: ClusterKeys, snapshot_id: str, attempt: int, manifest: str) -> bool:
    """Tell whether the attempt's pin holds this manifest as a base."""
    pin = pins.find(place.vault.store, keys, pins.id_of(snapshot_id, attempt))
    return pin is not None and manifest in {base.manifest.id for base in pin.bases}


def newest_root(place: FlowContext, keys: ClusterKeys, cluster_id: str) -> Root | None:
    """Return the root of the cluster's newest snapshot. `None` if there is no snapshot, or if its root is damaged; the
    damage is then recorded.
    """
    with place.control.database.reading() as reading:
        newest = snapshots.newest_available(reading, cluster_id)
    try:
        return None if newest is None else roots.read(place.vault.store, keys, newest)
    except RepositoryDamaged as error:
        if error.key:
            fault = Fault(error.key, ALTERED, error.message.removeprefix(f"{error.key} "))
            findings.note(place.vault.store, keys, [fault], place.control.clock.now())
        return None


def _bases(place: FlowContext, keys: ClusterKeys, cluster: Cluster) -> list[PinnedBase]:
    """Return the newest snapshot's manifests, from which `offer_base` chooses."""
    root = newest_root(place, keys, cluster.id)
    return [] if root is None else [PinnedBase(node.name, node.stored) for node in root.nodes]


def _parts(place: FlowContext, snapshot_id: str, cluster: Cluster) -> list[PinnedBase]:
    with place.control.database.reading() as reading:
        return [
            PinnedBase(node.name, Stored(*part))
            for node in cluster.nodes
            for part in captures.parts_of(reading, snapshot_id, node.id)
        ]
