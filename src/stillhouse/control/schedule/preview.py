"""Answers what a cluster's policies will do next, and when its automated snapshots go."""

from stillhouse.catalog import snapshot_lists, snapshot_policies
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster
from stillhouse.domain.reports import preview
from stillhouse.domain.reports.preview import MOST_RUNS, NextRun, Preview
from stillhouse.domain.snapshot_policies import BackupSettings
from stillhouse.errors import InvalidInput


def preview_policies(
    control: Control, project: str, cluster_id: str, runs: int
) -> tuple[BackupSettings, Preview]:
    """Return the cluster's settings and the preview of its next `runs` runs. Nothing is changed."""
    return _preview(control, project, cluster_id, runs, of_snapshots=True)


def next_runs(control: Control, project: str, cluster_id: str, runs: int) -> tuple[NextRun, ...]:
    """Return the cluster's next `runs` runs alone, without a look at each of its snapshots."""
    return _preview(control, project, cluster_id, runs, of_snapshots=False)[1].runs


def _preview(
    control: Control, project: str, cluster_id: str, runs: int, *, of_snapshots: bool
) -> tuple[BackupSettings, Preview]:
    if not 1 <= runs <= MOST_RUNS:
        raise InvalidInput(f"runs must be between 1 and {MOST_RUNS}")
    now = control.clock.now()
    with control.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
        settings = snapshot_policies.find_settings(reading, cluster.id) or BackupSettings(auto_backup=False)
        policies = snapshot_policies.list_policies(reading, cluster.id)
        ended = snapshot_policies.automated_ended(reading, cluster.id, now)
        automated = snapshot_lists.automated_of_cluster(reading, cluster.id) if of_snapshots else ()
    return settings, preview.preview(policies, settings, automated, ended, now, runs)
