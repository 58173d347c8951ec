"""Counts and durations of this process's work, in Prometheus' text format; they begin anew with the process.

Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counts. A label has few values: ids
of clusters, ids of operations, codes of errors; never the id of a snapshot, a message or the name of a caller.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import NamedTuple, Protocol

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from stillhouse import __version__

__all__ = [
    "CONTENT_TYPE",
    "DESCRIBED",
    "Described",
    "Metric",
    "answering",
    "collect",
    "count_captured",
    "count_cut",
    "count_ended",
    "count_failed_duty",
    "count_round",
    "count_snapshot",
    "expect_pause",
    "observe_phase",
    "render",
    "show_checks",
    "show_disk",
]

_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 16 * 3600)
_PAUSES = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)
_ANSWERS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each count, which no rule asks for
_registry = CollectorRegistry()
ProcessCollector(registry=_registry)


class Described(NamedTuple):
    """A metric as it is told to people. One with the label `cluster` gets the label `name` at a scrape."""

    name: str
    kind: str
    labels: tuple[str, ...]
    says: str


DESCRIBED: list[Described] = []
"""All metrics of this module, in their order here."""


def _counter(name: str, says: str, *labels: str) -> Counter:
    DESCRIBED.append(Described(f"stillhouse_{name}_total", "counter", labels, says))
    return Counter(f"stillhouse_{name}", says, labels, registry=_registry)


def _gauge(name: str, says: str, *labels: str) -> Gauge:
    DESCRIBED.append(Described(f"stillhouse_{name}", "gauge", labels, says))
    return Gauge(f"stillhouse_{name}", says, labels, registry=_registry)


def _histogram(name: str, says: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    DESCRIBED.append(Described(f"stillhouse_{name}", "histogram", labels, says))
    return Histogram(f"stillhouse_{name}", says, labels, buckets=buckets, registry=_registry)


_gauge("build_info", "The running version", "version").labels(__version__).set(1)

_snapshots = _counter(
    "snapshots", "Snapshots that ended, by how: available, failed, cancelled", "cluster", "outcome"
)
_failures = _counter(
    "failures",
    "Work that failed, by the kind of work and the stable code of the error",
    "cluster",
    "work",
    "code",
)
_work = _histogram("work_seconds", "Duration of work that ended well, by its kind", _SECONDS, "work")
_phases = _histogram("snapshot_phase_seconds", "Duration of the phases of snapshots", _SECONDS, "phase")
_last_phases = _gauge(
    "snapshot_last_phase_seconds", "Duration of the phases of a cluster's last snapshot", "cluster", "phase"
)

_captures = _counter("captures", "Captures of a node, by their base", "cluster", "base")
_files = _counter(
    "capture_files", "Files of captures, by the way each was treated: kept, pages, bytes", "cluster", "how"
)
_pages = _counter("capture_pages_stored", "Relation pages that captures stored", "cluster")
_bytes = _counter(
    "capture_bytes",
    "Bytes of captures: of the node (live), read, packed before compression, stored",
    "cluster",
    "what",
)
_duration = _histogram("capture_seconds", "Duration of a node's capture", _SECONDS)

_pause = _histogram("cut_pause_seconds", "How long a cut held writes off", _PAUSES, "cluster")
_expected_pause = _gauge(
    "cut_expected_pause_seconds",
    "How long the next cut is expected to hold writes off, as it was rehearsed last",
    "cluster",
)
_tries = _counter("cut_tries", "Tries that cuts took", "cluster")

_requests = _counter(
    "http_requests", "Requests that were answered, by operation and HTTP status", "operation", "status"
)
_answers = _histogram("http_request_seconds", "Duration of requests, by method", _ANSWERS, "method")
_answering = _gauge("http_requests_in_progress", "Requests that are being answered")

_checks = _gauge(
    "check_ok", "1 if the last look at this part of the service found nothing wrong, else 0", "check"
)
_checked = _gauge("checks_timestamp_seconds", "When the service last looked at its parts")
_free = _gauge("disk_free_bytes", "Free bytes on the disk of this place: data or repository", "place")
_size = _gauge("disk_size_bytes", "Size of that disk", "place")
_round = _gauge("timer_last_round_timestamp_seconds", "When the timer last ended a round of its duties")
_rounds = _counter("timer_rounds", "Rounds of the timer")
_failed_duties = _counter("timer_failures", "Duties of the timer that failed, by code of the error", "code")


def count_captured(
    cluster: str,
    files: Mapping[str, int],
    pages_stored: int,
    volume: Mapping[str, int],
    seconds: float,
    *,
    is_whole: bool,
) -> None:
    """Count one node's capture. `files` counts by `how` (domain/page_choice.py), `volume` counts bytes by kind."""
    _captures.labels(cluster, "none" if is_whole else "earlier").inc()
    for how, number in files.items():
        _files.labels(cluster, how).inc(number)
    for what, size in volume.items():
        _bytes.labels(cluster, what).inc(size)
    _pages.labels(cluster).inc(pages_stored)
    _duration.observe(seconds)


def expect_pause(cluster: str, seconds: float) -> None:
    _expected_pause.labels(cluster).set(seconds)


def count_cut(cluster: str, pause_seconds: float, tries: int) -> None:
    _pause.labels(cluster).observe(pause_seconds)
    _tries.labels(cluster).inc(tries)


def count_snapshot(cluster: str, outcome: str) -> None:
    _snapshots.labels(cluster, outcome).inc()


def observe_phase(cluster: str, phase: str, seconds: float) -> None:
    """Count a phase of a snapshot that has ended well."""
    _phases.labels(phase).observe(seconds)
    _last_phases.labels(cluster, phase).set(seconds)


def count_ended(cluster: str, work: str, seconds: float, failed_code: str | None = None) -> None:
    """Count work that ended: well, or with the code of an error of the tree. Work that was cancelled does not count."""
    if failed_code is None:
        _work.labels(work).observe(max(0.0, seconds))
    else:
        _failures.labels(cluster, work, failed_code or "unknown").inc()


class Answer(Protocol):
    """The answer to a request: the id of its operation, or "", and its status once it has begun."""

    operation: str
    status: int | None


@contextmanager
def answering(method: str, answer: Answer) -> Iterator[None]:
    """Count a request as being answered, and then as answered, unless its client was gone before."""
    _answering.inc()
    begun = monotonic()
    try:
        yield
    finally:
        _answering.dec()
        if answer.status is not None:
            _requests.labels(answer.operation or "unknown", str(answer.status)).inc()
            _answers.labels(method if method in _METHODS else "other").observe(monotonic() - begun)


def show_checks(found: Mapping[str, bool], at: float) -> None:
    """Show which parts of the service were found well, at this moment (seconds since 1970)."""
    for check, is_well in found.items():
        _checks.labels(check).set(is_well)
    _checked.set(at)


def show_disk(place: str, free: int, size: int) -> None:
    _free.labels(place).set(free)
    _size.labels(place).set(size)


def count_round(at: float) -> None:
    """Count a round of the timer, that ended at this moment (seconds since 1970)."""
    _rounds.inc()
    _round.set(at)


def count_failed_duty(code: str) -> None:
    _failed_duties.labels(code).inc()


def collect() -> Iterable[Metric]:
    """Return all families of this process."""
    return _registry.collect()


class _Families(Collector):
    """A list of families, in the form that the renderer takes."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Iterable[Metric]) -> bytes:
    """Return these families in the text format, of type CONTENT_TYPE. Values of labels are escaped."""
    return generate_latest(_Families(families))
