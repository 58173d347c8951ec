"""All metrics at one moment: this process's counts, and the figures of the catalog and of the workflow engine.

A scrape needs neither the object store nor a cluster's server. The catalog is read only when somebody has committed to
it since the scrape before, and where it cannot be read, all other metrics are there.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import NamedTuple

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.samples import Sample

from stillhouse import metrics
from stillhouse.catalog import clusters, figures, snapshot_policies, snapshot_queue
from stillhouse.catalog.schema.database import Transaction
from stillhouse.config import Settings
from stillhouse.control.context import Control
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.proof import ProofState
from stillhouse.domain.snapshot_policies import is_missed, next_due
from stillhouse.errors import CatalogUnavailable, InternalError

_OF_CLUSTER = ("cluster", "name")


class Told(NamedTuple):
    """The meaning of a gauge, and its labels; those of clusters have `cluster` and `name` besides."""

    says: str
    labels: tuple[str, ...] = ()


GAUGES = {
    "stillhouse_cluster_info": Told(
        "1 for each cluster that is there or has snapshots, with its project", ("project",)
    ),
    "stillhouse_cluster_at_work": Told(
        "1 if the cluster is meant to be at work, 0 if it is stopped or was never made"
    ),
    "stillhouse_cluster_created_timestamp_seconds": Told("When the cluster was made"),
    "stillhouse_node_up": Told(
        "1 if the node's server answered when it was asked last, else 0; of nodes meant to be at work",
        ("node",),
    ),
    "stillhouse_snapshots_kept": Told(
        "Snapshots by state: creating, available, unavailable, trash", ("state",)
    ),
    "stillhouse_snapshot_stored_bytes": Told(
        "Bytes that the snapshots stored when they were taken", ("state",)
    ),
    "stillhouse_snapshot_own_bytes": Told(
        "Bytes that single snapshots alone need, as far as they are measured", ("state",)
    ),
    "stillhouse_snapshot_last_good_timestamp_seconds": Told(
        "When the newest snapshot that can be restored, and has lost nothing, began"
    ),
    "stillhouse_snapshot_live_bytes": Told("Size of the data in that snapshot"),
    "stillhouse_snapshots_failed_since_good": Told(
        "Snapshots that failed since then, by the stable code of the error", ("code",)
    ),
    "stillhouse_snapshots_waiting": Told("Snapshots that wait for their turn"),
    "stillhouse_snapshots_damaged": Told("Snapshots that are known to have lost data"),
    "stillhouse_damaged_objects": Told("Objects of the repository that are known to be damaged"),
    "stillhouse_policy_next_run_timestamp_seconds": Told("When the next automated snapshot falls due"),
    "stillhouse_policy_runs_waiting": Told(
        "Automated snapshots that are due and wait, for example for a busy cluster"
    ),
    "stillhouse_policy_runs_missed": Told(
        "Due automated snapshots that were not taken since the last good one"
    ),
    "stillhouse_proof_last_good_timestamp_seconds": Told("When the last proof that proved a snapshot ended"),
    "stillhouse_proof_due_timestamp_seconds": Told(
        "When the next scheduled proof should have proved a snapshot"
    ),
    "stillhouse_proof_last_outcome": Told(
        "1 for the outcome of the last proof: proved, refuted or failed; 0 for the others", ("outcome",)
    ),
    "stillhouse_repository_objects": Told("Objects of the cluster that the last collection left"),
    "stillhouse_repository_bytes": Told("Bytes of these objects"),
    "stillhouse_collection_last_timestamp_seconds": Told(
        "When the last collection that was carried out ended"
    ),
    "stillhouse_collection_due_timestamp_seconds": Told(
        "When the next collection should have been carried out"
    ),
    "stillhouse_trash_due_timestamp_seconds": Told(
        "When the oldest deleted snapshot should have been removed from the repository"
    ),
    "stillhouse_flow_quiet_seconds": Told(
        "How long a running flow of this kind has not come further; of several the longest", ("flow",)
    ),
}

# These belong to no cluster.
ENGINE_GAUGES = {
    "stillhouse_flows": Told(
        "Flows that have not ended, by state: queued, running, or lost (begun, and at work nowhere)",
        ("flow", "state"),
    ),
    "stillhouse_flow_oldest_queued_seconds": Told("How long the oldest queued flow has waited"),
}


@dataclass
class _Page:
    """Values of gauges, by metric and labels."""

    values: dict[str, dict[tuple[str, ...], float]] = field(default_factory=lambda: defaultdict(dict))

    def put(self, metric: str, cluster: str, value: float | datetime | None, *labels: str) -> None:
        if value is not None:
            number = value.timestamp() if isinstance(value, datetime) else float(value)
            self.values[f"stillhouse_{metric}"][cluster, *labels] = number

    @property
    def clusters(self) -> list[str]:
        return [cluster for cluster, *_ in self.values["stillhouse_cluster_created_timestamp_seconds"]]


@dataclass(frozen=True)
class _Seen:
    """The figures of the catalog at one version of it."""

    version: int | None
    names: Mapping[str, str]
    page: _Page
    clusters: Sequence[Cluster]


_NOTHING = _Seen(None, {}, _Page(), ())


class Monitor:
    """The metrics of one service. For any thread; only one scrape at a time is made."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._seen = _NOTHING
        self._turn = threading.Lock()

    def scrape(self) -> bytes:
        with self._turn:
            page = _Page()
            try:
                self._look()
                _put_flows(page, self._control)
            except (CatalogUnavailable, InternalError):
                pass  # its check tells so; the figures are those of the scrape before
            _put_nodes(page, self._control, self._seen.clusters)
            families = [*self._named(metrics.collect()), *self._gauges(page)]
        return metrics.render(families)

    def _look(self) -> None:
        """Read the catalog, unless nothing was committed since the last time. The version is asked first."""
        database = self._control.database
        version = database.version()
        if version is not None and version == self._seen.version:
            return
        with database.reading() as reading:
            page = _Page()
            known = _put_clusters(page, reading)
            for put in (_put_snapshots, _put_policies, _put_proofs, _put_upkeep):
                put(page, reading, self._control)
            names = {one.id: one.name for one in known}
            self._seen = _Seen(version, names, page, clusters.all_clusters(reading))

    def _named(self, families: Iterable[metrics.Metric]) -> Iterator[metrics.Metric]:
        """Add the names of clusters, and leave out clusters that are gone."""
        names = self._seen.names
        for family in families:
            named = []
            for one in family.samples:
                cluster = one.labels.get("cluster")
                if cluster is None:
                    named.append(one)
                elif cluster in names:
                    labels = {"cluster": cluster, "name": names[cluster]} | one.labels
                    named.append(Sample(one.name, labels, *one[2:]))
            family.samples = named
            yield family

    def _gauges(self, now: _Page) -> Iterator[metrics.Metric]:
        names = self._seen.names
        for metric, told in GAUGES.items():
            family = GaugeMetricFamily(metric, told.says, labels=[*_OF_CLUSTER, *told.labels])
            values = chain(self._seen.page.values[metric].items(), now.values[metric].items())
            for (cluster, *labels), value in values:
                if cluster in names:
                    family.add_metric([cluster, names[cluster], *labels], value)
            yield family
        for metric, (says, names_of_labels) in ENGINE_GAUGES.items():
            family = GaugeMetricFamily(metric, says, labels=names_of_labels)
            for (_, *labels), value in now.values[metric].items():
                family.add_metric(labels, value)
            yield family


def _put_clusters(page: _Page, reading: Transaction) -> list[figures.Known]:
    known = figures.known_clusters(reading)
    for one in known:
        page.put("cluster_info", one.id, 1, one.project)
        page.put("cluster_created_timestamp_seconds", one.id, one.created)
    return known


def _put_snapshots(page: _Page, reading: Transaction, control: Control) -> None:
    for held in figures.held(reading):
        page.put("snapshots_kept", held.cluster_id, held.count, held.state)
        page.put("snapshot_stored_bytes", held.cluster_id, held.stored_bytes, held.state)
        page.put("snapshot_own_bytes", held.cluster_id, held.own_bytes, held.state)
        if held.oldest_deletion is not None:
            due = held.oldest_deletion + _kept_for(control.settings)
            page.put("trash_due_timestamp_seconds", held.cluster_id, due)
    for cluster, (began, size) in figures.last_good(reading).items():
        page.put("snapshot_last_good_timestamp_seconds", cluster, began)
        page.put("snapshot_live_bytes", cluster, size)
    for (cluster, code), count in figures.failed_since(reading).items():
        page.put("snapshots_failed_since_good", cluster, count, code)
    for metric, counts in (
        ("snapshots_waiting", snapshot_queue.lengths(reading)),
        ("snapshots_damaged", figures.damaged_snapshots(reading)),
        ("damaged_objects", figures.damaged_objects(reading)),
    ):
        for cluster in page.clusters:
            page.put(metric, cluster, counts.get(cluster, 0))


def _put_policies(page: _Page, reading: Transaction, control: Control) -> None:
    next_runs: dict[str, datetime] = {}
    waiting: dict[str, int] = {}
    missed: dict[str, int] = {}
    for policy, known in snapshot_policies.scheduled(reading, control.clock.now()):
        waiting[policy.cluster_id] = missed[policy.cluster_id] = 0
        if (due := next_due(policy, known)) is not None:
            next_runs[policy.cluster_id] = min(due, next_runs.get(policy.cluster_id, due))
    for run in snapshot_policies.waiting_runs(reading):
        waiting[run.cluster_id] = waiting.get(run.cluster_id, 0) + 1
    for skipped in figures.skipped_runs(reading):
        if is_missed(skipped.due, skipped.automated_ended, is_once=skipped.is_once):
            missed[skipped.cluster_id] += 1
    for metric, values in (
        ("policy_next_run_timestamp_seconds", next_runs),
        ("policy_runs_waiting", waiting),
        ("policy_runs_missed", missed),
    ):
        for cluster, value in values.items():
            page.put(metric, cluster, value)


def _put_proofs(page: _Page, reading: Transaction, control: Control) -> None:
    proved = figures.last_proved(reading)
    for cluster, ended in proved.items():
        page.put("proof_last_good_timestamp_seconds", cluster, ended)
    for cluster, state in figures.last_proofs(reading).items():
        for one in (ProofState.PROVED, ProofState.REFUTED, ProofState.FAILED):
            page.put("proof_last_outcome", cluster, state is one, one.lower())
    for cluster, (days, since) in figures.proof_schedules_since(reading).items():
        due = max(since, proved.get(cluster, since)) + timedelta(days=days)
        page.put("proof_due_timestamp_seconds", cluster, due)


def _put_upkeep(page: _Page, reading: Transaction, control: Control) -> None:
    every = timedelta(hours=control.settings.collect_every_hours)
    collected = figures.collections(reading)
    for cluster, (ended, objects, size) in collected.items():
        page.put("collection_last_timestamp_seconds", cluster, ended)
        page.put("repository_objects", cluster, objects)
        page.put("repository_bytes", cluster, size)
    created = {
        cluster: since
        for (cluster,), since in page.values["stillhouse_cluster_created_timestamp_seconds"].items()
    }
    for cluster in {cluster for cluster, _ in page.values["stillhouse_snapshots_kept"]}:
        since = collected[cluster][0].timestamp() if cluster in collected else created.get(cluster)
        if since is not None:
            page.put("collection_due_timestamp_seconds", cluster, since + every.total_seconds())


def _kept_for(settings: Settings) -> timedelta:
    """How long a deleted snapshot may be there: it is removed by the first collection after its days in the trash."""
    return timedelta(days=settings.trash_days, hours=settings.collect_every_hours)


def _put_flows(page: _Page, control: Control) -> None:
    load = control.flows.load()
    for state, counts in (("queued", load.queued), ("running", load.running), ("lost", load.lost)):
        for flow, count in counts.items():
            page.put("flows", "", count, flow, state)
    page.put("flow_oldest_queued_seconds", "", load.oldest_queued_seconds)
    at_work = control.flows.at_work()
    subjects = {one.subject.partition("/")[0] for one in at_work}
    with control.database.reading() as reading:
        of_subjects = figures.clusters_of(reading, sorted(subjects)) if subjects else {}
    for one in at_work:
        subject = one.subject.partition("/")[0]
        cluster = of_subjects.get(subject, subject)
        quiet = page.values["stillhouse_flow_quiet_seconds"].get((cluster, one.name), 0.0)
        page.put("flow_quiet_seconds", cluster, max(quiet, one.quiet_seconds), one.name)


def _put_nodes(page: _Page, control: Control, found: Sequence[Cluster]) -> None:
    answers = control.node_watch.answers()
    for cluster in found:
        page.put("cluster_at_work", cluster.id, cluster.is_at_work)
        for node in cluster.nodes if cluster.should_answer else ():
            if node.id in answers:
                page.put("node_up", cluster.id, answers[node.id], node.name)
