"""Copies the repository's records of damage into the catalog, for requests, metrics and the next scrub.

The records in the repository are the truth. Others write them too: `stillhouse repo`, another service's restore.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from stillhouse import log
from stillhouse.catalog import snapshot_lists
from stillhouse.catalog.checks import findings as rows
from stillhouse.catalog.checks import scrubs
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.lookup import known_snapshot
from stillhouse.control.snapshots.fates import checked_ids
from stillhouse.control.timer import attempt
from stillhouse.domain.reports.damage import KnownDamage, Lines, SnapshotTouched
from stillhouse.domain.snapshot import Snapshot
from stillhouse.repository.format import layout
from stillhouse.repository.objects import findings, losses
from stillhouse.repository.objects.findings import Findings

_ROUNDS = 6  # of the timer between two looks at a cluster


def look_for_findings(place: FlowContext, now: datetime) -> list[str]:
    """Read the records of each cluster that is due. Returns the clusters with changed records.

    A timer calls it every few seconds: if nothing has changed, it costs the listing of a small folder.
    """
    before = now - _ROUNDS * timedelta(seconds=place.control.settings.timer_seconds)
    with place.control.database.reading() as reading:
        waiting = rows.due(reading, before)
    news: list[str] = []
    for cluster_id in waiting:
        attempt(f"findings of cluster {cluster_id}", partial(_look, place, cluster_id, news))
    return news


def _look(place: FlowContext, cluster_id: str, news: list[str]) -> None:
    if refresh(place, cluster_id):
        news.append(cluster_id)


def refresh(place: FlowContext, cluster_id: str) -> bool:
    """Copy the repository's records into the catalog; `True` if they have changed.

    A scrub is due at once for findings without a list of the snapshots that they touch.
    """
    control = place.control
    place.vault.check_identity()
    listed = sorted(
        one.key.rpartition("/")[2] for one in place.vault.store.list(layout.findings_of(cluster_id))
    )
    with control.database.reading() as reading:
        before = rows.known(reading, cluster_id)
    if before is not None and list(before.records) == listed:
        with control.database.transaction() as transaction:
            rows.note_look(transaction, cluster_id, control.clock.now())
        return False
    found = Findings(cluster_id)
    if listed:
        found = findings.read(place.vault.store, place.vault.keys(cluster_id))
    said = KnownDamage(listed, found.is_worked_out, [_object(found, key) for key in sorted(found.keys)])
    costs = {one.snapshot: list(losses.lines(one)) for one in found.losses}
    with control.database.transaction() as transaction:
        rows.put(transaction, cluster_id, control.clock.now(), said, costs)
        if found.faults and not found.is_worked_out:
            scrubs.hasten(transaction, cluster_id, control.clock.now())
    is_news = before is None or before.objects != said.objects
    if is_news and said.objects:
        log.get("findings").error(
            "the repository is known to be damaged",
            cluster=cluster_id,
            objects=len(said.objects),
            snapshots=sorted(costs),
        )
    return is_news


def damage_of(control: Control, project: str, snapshot_id: str) -> tuple[Snapshot, SnapshotTouched | None]:
    """Return the known losses of a snapshot; `None` without a loss."""
    with control.database.reading() as reading:
        snapshot = known_snapshot(reading, project, snapshot_id)
        lines = rows.loss_of(reading, snapshot.id)
    return snapshot, None if lines is None else _touched(lines)


def list_damage(
    control: Control, project: str, ids: Sequence[str] | None = None
) -> tuple[list[tuple[Snapshot, SnapshotTouched]], dict[str, KnownDamage]]:
    """Return the project's snapshots with losses, the newest first, and the damaged objects by cluster.

    If `ids` are given, other snapshots are left out. Raises InvalidInput as `checked_ids`.
    """
    wanted = None if ids is None else checked_ids(ids)
    with control.database.reading() as reading:
        touched = [
            (one, _touched(rows.loss_of(reading, one.id) or []))
            for one in snapshot_lists.damaged(reading, project, wanted)
        ]
        return touched, rows.of_project(reading, project)


def _object(found: Findings, key: str) -> dict[str, object]:
    fault = found.faults[key]
    return {
        "key": key,
        "kind": fault.kind,
        "detail": fault.detail,
        "costs": fault.parts is None or bool(fault.parts),
        "found": found.found[key].isoformat(),
    }


def _touched(lines: Lines) -> SnapshotTouched:
    (one,) = losses.together(map(losses.of_line, lines))
    return one
