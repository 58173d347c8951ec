"""`stillhouse repo collect`: remove unneeded objects of a repository, without a catalog."""

from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stillhouse.cli.repo.app import KekFile, Location, open_bucket
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Json
from stillhouse.domain.reports.sizes import said_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stillhouse.domain.collection import Collected
    from stillhouse.repository.upkeep.collect import Collector

# Without a catalog only listings show which objects are reached, and they may lag (docs/format.md, section 12).
_LEAST_GRACE_DAYS = 7

TrashDays = Annotated[int, Parameter(name=["--trash-days", "--grace-days"], env_var="STILLHOUSE_TRASH_DAYS")]


def collect(
    *,
    repository: Location,
    kek_file: KekFile,
    cluster: str = "",
    trash_days: TrashDays = 7,
    dry_run: bool = False,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    whole: bool = False,
    json_: Json = False,
) -> None:
    """Purge deleted snapshots after their days in the trash, and remove objects that nothing reaches any more.

    A running service does this by itself, and may go on while this runs: new captures stay, and a snapshot that is
    brought back from the trash is not purged. STILLHOUSE_TRASH_DAYS sets the days, as for the service.

    Parameters
    ----------
    repository
        A directory, or s3://bucket/prefix.
    kek_file
        The file with the key-encryption key.
    cluster
        Collect the objects of this cluster only.
    trash_days
        Deleted snapshots stay this long in the trash; with 0 they are purged now. An unreachable object is removed as
        many days after it was first found so, but at least 7. --grace-days is another name of this.
    dry_run
        Change nothing; tell how many objects would stay and go.
    list_
        With --dry-run: tell for each object whether it stays or goes, and why. --json has them always.
    whole
        Read all roots and manifests, also those that an earlier collection has read, and compare. This is done every 30
        days without being asked.
    json_
        Print one JSON object.
    """

    def work() -> None:
        from stillhouse.errors import InvalidInput

        if trash_days < 0:
            raise InvalidInput("--trash-days is at least 0")
        answers: dict[str, Any] = {}
        for collector in _collectors(repository, kek_file, cluster, timedelta(days=trash_days)):
            chosen = replace(collector, whole=whole)
            answers[collector.cluster] = (
                _draft(chosen, json_, is_listed=list_) if dry_run else _collect(chosen, json_)
            )
        if json_:
            command.say_json({"dry_run": dry_run, "clusters": answers})
        elif not answers:
            command.say("nothing of any cluster is in this repository")

    command.run(work)


def _collectors(repository: str, kek_file: KekFile, only: str, trash: timedelta) -> "Iterator[Collector]":
    from stillhouse.clock import SystemClock
    from stillhouse.domain.collection import Rules
    from stillhouse.errors import InvalidInput
    from stillhouse.repository.format.cipher_keys import open_keys
    from stillhouse.repository.upkeep.collect import Collector, is_empty

    grace = max(trash, timedelta(days=_LEAST_GRACE_DAYS))
    bucket = open_bucket(repository, kek_file, only)
    if only and is_empty(bucket.store, only.lower()):
        raise InvalidInput(f"nothing of cluster {only} is in this repository")
    for cluster in bucket.clusters:
        keys = open_keys(bucket.store, bucket.kek, cluster)
        yield Collector(bucket.store, keys, SystemClock(), Rules(grace, trash))


@contextmanager
def _shown(collector: "Collector") -> "Iterator[Collector]":
    """Yield the collector with a bar on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(collector.cluster)
        yield replace(collector, go_on=lambda done, total: progress.update(bar, completed=done, total=total))


def _draft(collector: "Collector", as_json: bool, *, is_listed: bool) -> dict[str, Any]:
    from stillhouse.repository.upkeep.collect import summary

    with _shown(collector) as shown:
        look, plan = shown.draft()
        items = list(plan)
    if not as_json:
        command.say(f"cluster {collector.cluster}")
        for item in items if is_listed else ():
            command.say(f"  {item.verdict:<6}  {item.key}  {said_size(item.size)}  {item.why}")
        _say_what("would be ", summary(items))
    return {
        "now": look.now.isoformat(),
        "objects": [asdict(item) for item in items],
        **asdict(summary(items)),
    }


def _collect(collector: "Collector", as_json: bool) -> dict[str, Any]:
    with _shown(collector) as shown:
        done = shown.collect()
    if not as_json:
        command.say(f"cluster {collector.cluster}")
        _say_what("", done)
    return asdict(done)


def _say_what(mood: str, done: "Collected") -> None:
    numbers: list[tuple[str, int, int]] = [
        ("kept", done.kept, done.kept_bytes),
        ("marked as unreachable", done.marked, done.marked_bytes),
        ("deleted", done.deleted, done.deleted_bytes),
    ]
    for snapshot in done.purged:
        command.say(f"  snapshot {snapshot} {mood}purged")
    for what, count, size in numbers:
        command.say(f"  {count} objects ({said_size(size)}) {mood}{what}")
    if done.stopped_by:
        command.say(f"  ended early: {done.stopped_by} appeared meanwhile; collect again")
