"""The flow that reads a cluster's packs whole in the background, slowly, the longest unread first.

It only reads packs, and records in the repository which were read, so it does not hold the cluster. Objects that a
collection removes meanwhile are not reported as damage, because the roots are read again before a report.
"""

from datetime import datetime, timedelta
from typing import Any

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.catalog.checks import findings, scrubs
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.upkeep.findings import refresh
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import RepositoryDamaged, StillhouseError
from stillhouse.workers import process
from stillhouse.workers.jobs import ScrubJob, scrub_job

_AT_A_TIME = timedelta(hours=1)
_PAUSE = timedelta(hours=6)  # when nothing is due
_AFTER_FAILURE = timedelta(hours=1)
_LONGEST = timedelta(
    days=1
)  # after a flow that has vanished; all others end, and set the time of the next one


def start_due_scrubs(place: FlowContext, now: datetime) -> list[str]:
    """Enqueue a flow for each cluster that is due. Returns their ids. Cheap: a timer calls it every few seconds.

    If scrubs are switched off, only objects that were found damaged by others are read.
    """
    with place.control.database.reading() as reading:
        waiting = scrubs.due(reading, now)
        if not place.control.settings.scrub_rate_bytes:
            waiting = [one for one in waiting if not findings.is_worked_out(reading, one)]
    started = []
    for cluster_id in waiting:
        with place.control.database.transaction() as transaction:
            if scrubs.begin(transaction, cluster_id, now, now + _LONGEST):
                place.control.flows.enqueue(transaction, "scrub_cluster", cluster_id)
                started.append(cluster_id)
    return started


def scrub_cluster(place: FlowContext, run: StepRunner, cluster_id: str) -> None:
    try:
        found = run.step("read", _read, place, cluster_id)
        run.surely("end", _end, place, cluster_id, found)
    except StillhouseError as error:
        run.surely("put off", _put_off, place, cluster_id, str(error))


def _read(place: FlowContext, cluster_id: str) -> dict[str, Any]:
    """Read in a process of its own, for an hour at most. Packs are due at half the greatest age, to stay within it."""
    settings = place.control.settings
    with place.control.database.reading() as reading:
        published = scrubs.published(reading, cluster_id)
    job = ScrubJob(
        place.vault.repository,
        cluster_id,
        tuple(published),
        before=place.control.clock.now() - timedelta(days=settings.scrub_max_age_days) / 2,
        rate=settings.scrub_rate_bytes,
        at_most=settings.scrub_rate_bytes * int(_AT_A_TIME.total_seconds()),
        only_suspected=not settings.scrub_rate_bytes,
    )
    found = process.run(scrub_job, job, place.control.flows.watch())
    damages = [
        {
            "kind": damage.kind,
            "key": damage.key,
            "detail": damage.detail,
            "snapshots": [touched.snapshot for touched in damage.touches],
        }
        for damage in found.damages
    ]
    return {"packs": found.packs, "bytes": found.bytes, "is_more": found.is_more, "damages": damages}


def _end(place: FlowContext, cluster_id: str, found: dict[str, Any]) -> None:
    """Record the result: in the log, in the row, and damage also in the cluster's `failed_reasons`."""
    now, damages = place.control.clock.now(), found["damages"]
    for damage in damages:
        log.get("scrub").error("the repository is damaged", cluster=cluster_id, **damage)
    log.get("scrub").info("packs read", cluster=cluster_id, packs=found["packs"], bytes=found["bytes"])
    with place.control.database.transaction() as transaction:
        again = now if found["is_more"] else now + _PAUSE
        scrubs.end(
            transaction, cluster_id, now, again, packs=found["packs"], read=found["bytes"], damages=damages
        )
        if damages:
            reason = (
                f"{len(damages)} objects of the repository are damaged: `stillhouse repo check` tells more"
            )
            clusters.note_failure(transaction, cluster_id, now, code=RepositoryDamaged.code, reason=reason)
        elif clusters.read_cluster(transaction, cluster_id).failed_code == RepositoryDamaged.code:
            clusters.note_failure(transaction, cluster_id, now, code="", reason="")
    refresh(place, cluster_id)


def _put_off(place: FlowContext, cluster_id: str, reason: str) -> None:
    log.get("scrub").warning("packs could not be read", cluster=cluster_id, reason=reason)
    with place.control.database.transaction() as transaction:
        scrubs.put_off(transaction, cluster_id, place.control.clock.now() + _AFTER_FAILURE)
