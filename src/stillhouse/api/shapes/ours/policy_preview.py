"""Previews of policies: the body of the answer, and how it is shown."""

from stillhouse.api.shapes.values import Answer, Int32, Json, NullableText, cluster_time
from stillhouse.domain.reports.preview import NextRun, Preview
from stillhouse.domain.retention import Fate
from stillhouse.domain.snapshot import Snapshot
from stillhouse.domain.snapshot_policies import BackupSettings


class PlannedRun(Answer):
    due: str
    policy_id: str
    policy_name: str
    backup_type: str
    begins: NullableText
    reason: str
    expires: NullableText


class ExpiringSnapshot(Answer):
    id: str
    name: str
    state: str
    started: str
    expires: NullableText
    kept_because: str


class PolicyPreview(Answer):
    keep_day: Int32
    auto_backup: bool
    runs: list[PlannedRun]
    snapshots: list[ExpiringSnapshot]


def policy_preview(settings: BackupSettings, found: Preview) -> Json:
    return {
        "keep_day": settings.keep_day,
        "auto_backup": settings.auto_backup,
        "runs": [_run(run) for run in found.runs],
        "snapshots": [_expiring(snapshot, fate) for snapshot, fate in found.snapshots],
    }


def _run(run: NextRun) -> Json:
    return {
        "due": cluster_time(run.due),
        "policy_id": run.policy.id,
        "policy_name": run.policy.name,
        "backup_type": run.policy.backup_type.value,
        "begins": cluster_time(run.begins) if run.begins else None,
        "reason": run.reason,
        "expires": cluster_time(run.expires) if run.expires else None,
    }


def _expiring(snapshot: Snapshot, fate: Fate) -> Json:
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "state": snapshot.state.value,
        "started": cluster_time(snapshot.started),
        "expires": cluster_time(fate.expires) if fate.expires else None,
        "kept_because": fate.why,
    }
