"""`stillhouse repo check`, `verify`, `stats`: a repository's completeness, readability and content."""

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from stillhouse.cli.repo.app import Bucket, KekFile, Location, open_bucket
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Json

if TYPE_CHECKING:
    from rich.progress import Progress

    from stillhouse.repository.check.report import ClusterReport
    from stillhouse.repository.check.structure import Checked, PackFacts

DAMAGED = 3
"""Exit code where damage was found; 1 is an error of the command itself."""

OneCluster = Annotated[str | None, Parameter(name="--cluster", help="Only this cluster; else all of them.")]
MaxAge = Annotated[
    int,
    Parameter(
        env_var="STILLHOUSE_SCRUB_MAX_AGE_DAYS",
        help="Packs that were not read whole for longer are reported as overdue.",
    ),
]


def check(
    *,
    repository: Location,
    kek_file: KekFile,
    cluster: OneCluster = None,
    max_age_days: MaxAge = 90,
    json_: Json = False,
) -> None:
    """Check that every object is there and in its place. Reads all but the packs' frames. Exit code 3: damage."""
    from stillhouse.clock import SystemClock
    from stillhouse.repository.check.report import sum_up
    from stillhouse.repository.check.structure import check as check_cluster

    def look() -> None:
        bucket = open_bucket(repository, kek_file, cluster or "")
        now, max_age = SystemClock().now(), timedelta(days=max_age_days)
        _end(
            [
                sum_up(check_cluster(bucket.store, bucket.kek, one), now=now, max_age=max_age)
                for one in _clusters(bucket)
            ],
            json_,
        )

    command.run(look)


def verify(
    *,
    repository: Location,
    kek_file: KekFile,
    cluster: OneCluster = None,
    sample: float = 100.0,
    newest: Annotated[bool, Parameter(negative="")] = False,
    rate: int = 0,
    max_age_days: MaxAge = 90,
    json_: Json = False,
) -> None:
    """Check, and read packs whole: every frame is opened and hashed. Exit code 3: damage was found.

    Parameters
    ----------
    sample
        Percent of the packs to read: those that have waited longest, by chance among equals.
    newest
        Only the packs of each cluster's newest snapshot.
    rate
        Bytes per second to read at most; 0: as fast as it goes.
    """

    def read() -> None:
        from stillhouse.errors import InvalidInput

        if not 0 < sample <= 100 or rate < 0:
            raise InvalidInput("--sample is a percentage above 0, --rate is not below 0")
        bucket = open_bucket(repository, kek_file, cluster or "")
        clusters = _clusters(bucket)
        with _progress() as progress:
            reports = [
                _verify(bucket, one, sample, newest, rate, timedelta(days=max_age_days), progress)
                for one in clusters
            ]
        _end(reports, json_)

    command.run(read)


def stats(
    *,
    repository: Location,
    kek_file: KekFile,
    cluster: OneCluster = None,
    max_age_days: MaxAge = 90,
    json_: Json = False,
) -> None:
    """Show how many bytes each snapshot holds, shares and keeps alone. Reads roots and manifests only."""
    from rich.console import Console

    from stillhouse.cli.repo import report as repo_report
    from stillhouse.clock import SystemClock
    from stillhouse.repository.check.stats import figures
    from stillhouse.repository.check.structure import check as check_cluster

    def show() -> None:
        bucket = open_bucket(repository, kek_file, cluster or "")
        now, max_age = SystemClock().now(), timedelta(days=max_age_days)
        found = [
            figures(
                check_cluster(bucket.store, bucket.kek, one, only_manifests=True), now=now, max_age=max_age
            )
            for one in _clusters(bucket)
        ]
        if json_:
            command.say_json(repo_report.figures_json(found))
            return
        console = Console(width=None if sys.stdout.isatty() else 160)
        for one in found:
            console.print(repo_report.figures_table(one))
            console.print(repo_report.figures_words(one), highlight=False, soft_wrap=True)

    command.run(show)


def _clusters(bucket: Bucket) -> list[str]:
    """List the clusters to check. Raises ClusterUnknown for a cluster without objects in the repository."""
    from stillhouse.errors import ClusterUnknown
    from stillhouse.repository.upkeep.collect import is_empty

    if len(bucket.clusters) == 1 and is_empty(bucket.store, bucket.clusters[0]):
        raise ClusterUnknown(f"the repository holds nothing of cluster {bucket.clusters[0]}")
    return bucket.clusters


def _verify(
    bucket: Bucket,
    cluster: str,
    sample: float,
    newest: bool,
    rate: int,
    max_age: timedelta,
    progress: "Progress | None",
) -> "ClusterReport":
    from stillhouse.clock import SystemClock
    from stillhouse.repository.check.report import sum_up
    from stillhouse.repository.check.structure import check as check_cluster
    from stillhouse.repository.check.verify import Rate
    from stillhouse.repository.check.verify import verify as verify_packs

    clock = SystemClock()
    checked = check_cluster(bucket.store, bucket.kek, cluster, workers=os.cpu_count() or 1)
    packs = _chosen(checked, sample, newest)
    told = _bar(progress, cluster, sum(pack.size for pack in packs))
    count = verify_packs(checked, packs, rate=Rate(rate, clock), clock=clock, on_read=told) if packs else 0
    return sum_up(checked, now=clock.now(), max_age=max_age, packs_read=len(packs), bytes_read=count)


def _chosen(checked: "Checked", sample: float, newest: bool) -> "list[PackFacts]":
    from stillhouse.repository.check.record import suspected
    from stillhouse.repository.check.verify import longest_unread
    from stillhouse.repository.objects import scrubs

    place = checked.place
    if place.keys is None:
        return []
    packs = longest_unread(checked, scrubs.read(place.store, place.keys))
    if newest and place.roots:
        last = max(place.roots, key=lambda snapshot: place.roots[snapshot].finished)
        mine = checked.packs_of(last)
        packs = [pack for pack in packs if pack.id in mine]
    chosen = packs[: ceil(len(packs) * sample / 100)]
    read = {pack.id for pack in chosen}
    return [*(pack for pack in suspected(checked) if pack.id not in read), *chosen]


def _progress() -> "AbstractContextManager[Progress | None]":
    """Show a bar per cluster on a terminal; standard output is for the report."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _bar(progress: "Progress | None", cluster: str, total: int) -> Callable[[int], None]:
    if progress is None:
        return lambda count: None
    task = progress.add_task(f"reading {cluster[:8]}", total=total)
    return lambda count: progress.advance(task, count)


def _end(reports: "list[ClusterReport]", json_: bool) -> None:
    """Print the findings; exit code 3 if anything is damaged."""
    from stillhouse.cli.repo import report as repo_report

    if json_:
        command.say_json(repo_report.report_json(reports))
    else:
        for line in repo_report.report_words(reports):
            command.say(line)
    sys.stdout.flush()
    if any(report.damages for report in reports):
        raise SystemExit(DAMAGED)
