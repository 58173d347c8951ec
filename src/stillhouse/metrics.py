"""Counts of this process's work and of known damage, in Prometheus' text format; they end with the process."""

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = [
    "CONTENT_TYPE",
    "count_captured",
    "count_cut",
    "count_snapshot",
    "expect_pause",
    "render",
    "show_damage",
    "show_waiting",
]

_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 16 * 3600)
_PAUSES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)

_registry = CollectorRegistry()
_snapshots = Counter("stillhouse_snapshots", "Snapshots that ended, by how", ["outcome"], registry=_registry)
_waiting = Gauge(
    "stillhouse_snapshots_waiting", "Snapshots that wait for their turn", ["cluster"], registry=_registry
)
_captures = Counter("stillhouse_captures", "Captures of a node, by their base", ["base"], registry=_registry)
_files = Counter(
    "stillhouse_capture_files", "Files of captures, by what was done with each", ["how"], registry=_registry
)
_pages = Counter("stillhouse_capture_pages_stored", "Relation pages that captures stored", registry=_registry)
_bytes = Counter(
    "stillhouse_capture_bytes",
    "Bytes of captures: of the node, read, packed before compression, stored",
    ["what"],
    registry=_registry,
)
_duration = Histogram(
    "stillhouse_capture_seconds", "Duration of a node's capture", buckets=_SECONDS, registry=_registry
)
_pause = Histogram(
    "stillhouse_cut_pause_seconds", "How long a cut held writes off", buckets=_PAUSES, registry=_registry
)
_expected_pause = Gauge(
    "stillhouse_cut_expected_pause_seconds",
    "How long the next cut is expected to hold writes off, as it was rehearsed last",
    ["cluster"],
    registry=_registry,
)
_tries = Counter("stillhouse_cut_tries", "Tries that cuts took", registry=_registry)
_damaged = Gauge(
    "stillhouse_damaged_objects",
    "Objects of the repository that are known to be damaged",
    ["cluster"],
    registry=_registry,
)
_lost = Gauge(
    "stillhouse_snapshot_lost",
    "Known losses of a snapshot: all of it, whole nodes, files in part, blocks and bytes of these",
    ["cluster", "snapshot", "what"],
    registry=_registry,
)


def count_captured(
    files: Mapping[str, int], pages_stored: int, volume: Mapping[str, int], seconds: float, *, is_whole: bool
) -> None:
    """Count one node's capture. `files` counts by `how` (domain/choice.py), `volume` counts bytes by kind."""
    _captures.labels("none" if is_whole else "earlier").inc()
    for how, number in files.items():
        _files.labels(how).inc(number)
    for what, size in volume.items():
        _bytes.labels(what).inc(size)
    _pages.inc(pages_stored)
    _duration.observe(seconds)


def expect_pause(cluster: str, seconds: float) -> None:
    _expected_pause.labels(cluster).set(seconds)


def count_cut(pause_seconds: float, tries: int) -> None:
    _pause.observe(pause_seconds)
    _tries.inc(tries)


def count_snapshot(outcome: str) -> None:
    _snapshots.labels(outcome).inc()


def show_damage(objects: Mapping[str, int], lost: Mapping[tuple[str, str], Mapping[str, int]]) -> None:
    """Show all known damage: the damaged objects by cluster, and the losses by cluster, snapshot and kind."""
    _damaged.clear()
    _lost.clear()
    for cluster, number in objects.items():
        _damaged.labels(cluster).set(number)
    for (cluster, snapshot), sums in lost.items():
        for what, number in sums.items():
            _lost.labels(cluster, snapshot, what).set(number)


def show_waiting(lengths: Mapping[str, int]) -> None:
    """Show how many snapshots wait, by cluster; clusters that are not named are removed."""
    _waiting.clear()
    for cluster, number in lengths.items():
        _waiting.labels(cluster).set(number)


def render() -> bytes:
    """Return all metrics, of type CONTENT_TYPE."""
    return generate_latest(_registry)
