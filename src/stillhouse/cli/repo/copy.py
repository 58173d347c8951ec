"""`stillhouse repo copy`: snapshots into a second repository."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from stillhouse.cli.repo.app import Bucket, KekFile, Location, open_bucket
from stillhouse.cli.repo.keys import NEW_KEY
from stillhouse.cli.repo.recover import inventory_of
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Json
from stillhouse.domain.reports.sizes import said_size

if TYPE_CHECKING:
    from stillhouse.repository.upkeep.copy import End, Outcome
    from stillhouse.repository.upkeep.inventory import Found, Inventory

_STATES = {
    "copied": "copied",
    "there": "was there",
    "mended": "was there, and its known damage is mended",
    "buried": "was given up there, and stays so",
    "failed": "NOT copied",
}


def copy(
    *,
    repository: Location,
    kek_file: KekFile,
    to: str,
    to_kek_file: Path,
    snapshot: tuple[str, ...] = (),
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    newest: int = 0,
    cluster: str = "",
    workers: int = 4,
    json_: Json = False,
) -> None:
    """Copy snapshots into a second repository, under a key of its own. Only missing objects are copied.

    Every object is checked on the way. A damaged snapshot is named and left out, and the others are copied all the
    same; the exit code is then 1. Called again, the same command copies the objects that are still missing.

    Parameters
    ----------
    repository
        A directory or s3://bucket/prefix.
    kek_file
        The file that holds its KEK.
    to
        The second repository, which is made if it is missing.
    to_kek_file
        The file of its KEK; the key is made when the file is missing and the second repository holds nothing.
    snapshot
        A snapshot's id or name; may be given several times.
    all_
        All snapshots that are not in the trash.
    newest
        The newest so many of each cluster.
    cluster
        Only of this cluster, by its id.
    workers
        Objects that are moved at once.
    json_
        Print one JSON object.
    """
    from stillhouse.errors import InvalidInput

    def move() -> None:
        if (bool(snapshot), all_, newest > 0).count(True) != 1:
            raise InvalidInput("say which snapshots", hint="one of --snapshot, --all and --newest")
        bucket = open_bucket(repository, kek_file, cluster)
        inventory = inventory_of(bucket)
        chosen = _chosen(inventory, snapshot, newest)
        source = _end_of(bucket, repository)
        target, is_new = _open_second(to, to_kek_file)
        outcomes = _copy(source, target, chosen, workers)
        unreadable = [] if snapshot else inventory.unreadable
        _say_copied(target.id, outcomes, unreadable, json_=json_)
        if is_new and not json_:
            command.say(NEW_KEY.format(file=to_kek_file))
        if unreadable or any(outcome.state == "failed" for outcome in outcomes):
            raise SystemExit(1)

    command.run(move)


def _chosen(inventory: "Inventory", wanted: Sequence[str], newest: int) -> "Sequence[Found]":
    """The snapshots asked for by id or name, or the `newest` of each cluster; all of them when it is 0."""
    from stillhouse.repository.upkeep.inventory import choose, newest_of

    if wanted:
        return [choose(inventory.snapshots, one) for one in wanted]
    return newest_of(inventory.snapshots, newest or len(inventory.snapshots))


def _end_of(bucket: Bucket, location: str) -> "End":
    """The repository that is copied from. Raises InvalidInput when there is none."""
    from stillhouse.repository.objects import identity
    from stillhouse.repository.upkeep.copy import End

    return End(bucket.store, bucket.kek, identity.demand(bucket.store, location))


def _open_second(location: str, kek_file: Path) -> "tuple[End, bool]":
    """The second repository, made when there is none, and whether its key was made now."""
    from stillhouse.repository.objects import identity
    from stillhouse.repository.upkeep.copy import End
    from stillhouse.repository.upkeep.kek_fit import kek_for_copies
    from stillhouse.storage.open import SHORTLY, open_store
    from stillhouse.storage.probe import probe

    probe(open_store(location, retry_for=SHORTLY))
    store = open_store(location)
    kek, is_new = kek_for_copies(store, location, kek_file)
    return End(store, kek, identity.claim(store)), is_new


def _copy(source: "End", target: "End", chosen: "Sequence[Found]", workers: int) -> "list[Outcome]":
    from stillhouse.cli.terminal.progress import bars
    from stillhouse.clock import SystemClock
    from stillhouse.repository.upkeep.copy import copy_snapshots

    with bars() as new_bar:
        copied = copy_snapshots(source, target, chosen, workers=workers, clock=SystemClock(), new_bar=new_bar)
        return list(copied)


def _say_copied(
    repository_id: str, outcomes: "Sequence[Outcome]", unreadable: Sequence[str], *, json_: bool
) -> None:
    if json_:
        told = [asdict(outcome) for outcome in outcomes]
        command.say_json({"repository": repository_id, "snapshots": told, "unreadable": unreadable})
        return
    for outcome in outcomes:
        command.say(
            f"{outcome.snapshot}  {outcome.name}  {_STATES[outcome.state]}"
            f"  {outcome.objects} objects, {said_size(outcome.bytes)}"
            f"{f'  {outcome.reason}' if outcome.reason else ''}"
        )
    for sentence in unreadable:
        command.say(f"cannot be read: {sentence}")
