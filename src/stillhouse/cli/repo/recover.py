"""`stillhouse repo snapshots`, `restore` and `rebuild-catalog`: recovery with the bucket and the KEK alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stillhouse.cli.repo.app import KekFile, Location, open_bucket
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Json, ServerSettings
from stillhouse.domain.reports.sizes import said_size

if TYPE_CHECKING:
    from stillhouse.cli.repo.app import Bucket
    from stillhouse.control.restores.without_service import RestoredAlone, Wanted
    from stillhouse.repository.upkeep.inventory import Found, Inventory

Flag = Annotated[bool, Parameter(negative="")]


def snapshots(*, repository: Location, kek_file: KekFile, cluster: str = "", json_: Json = False) -> None:
    """List the snapshots that the repository holds. Exit code 1 when something of it cannot be read.

    Parameters
    ----------
    repository
        A directory or s3://bucket/prefix.
    kek_file
        The file that holds the KEK.
    cluster
        Only this cluster, by its id.
    json_
        Print one JSON object.
    """
    from stillhouse.repository.upkeep.inventory import server_versions

    def look() -> None:
        bucket = open_bucket(repository, kek_file, cluster)
        inventory = inventory_of(bucket)
        versions = server_versions(bucket.store, bucket.kek, inventory.snapshots)
        told = [_told(found, versions.get(found.id)) for found in inventory.snapshots]
        if json_:
            command.say_json({"snapshots": told, "unreadable": inventory.unreadable})
        else:
            for each in told:
                trash = f"  in the trash since {each['trashed']}" if each["trashed"] else ""
                command.say(
                    f"{each['id']}  {each['finished'][:19]}  {said_size(each['size'])}  {each['name']}"
                    f"  of {each['cluster']['name']} {each['cluster']['id']}"
                    f"  {len(each['nodes'])} nodes, PostgreSQL {each['pg_major'] or '?'}{trash}"
                    f"{'  DAMAGED: `repo check` lists the losses' if each['damaged'] else ''}"
                )
            for sentence in inventory.unreadable:
                command.say(f"cannot be read: {sentence}")
            command.say(f"{len(told)} snapshots.")
        if inventory.unreadable:
            raise SystemExit(1)

    command.run(look)


def restore(
    *,
    repository: Location,
    kek_file: KekFile,
    snapshot: str,
    into: Path,
    cluster: str = "",
    node: str = "",
    port: int = 0,
    files_only: Flag = False,
    start: Flag = False,
    workers: int = 2,
    pg_bin: Annotated[Path | None, Parameter(env_var="STILLHOUSE_PG_BIN")] = None,
    pg_bins: Annotated[str, Parameter(env_var="STILLHOUSE_PG_BINS")] = "",
    os_user: Annotated[str, Parameter(env_var="STILLHOUSE_OS_USER")] = "stillhouse",
    set_: ServerSettings = (),
    json_: Json = False,
) -> None:
    """Restore a snapshot by the bucket and the KEK alone: no catalog, no service.

    The cluster is rebuilt, recovered to its cut in quarantine and disconnected from its source. Called again, the same
    command goes on where it was killed, and starts or stops the servers as told.

    Parameters
    ----------
    repository
        A directory or s3://bucket/prefix.
    kek_file
        The file that holds the KEK.
    snapshot
        Its id or its name.
    into
        A directory of its own, which the servers' account must be able to reach.
    cluster
        The id of the snapshot's cluster; saves looking through the others.
    node
        Rebuild this node alone, and only its files.
    port
        The port that the servers listen on; the source's by default.
    files_only
        Rebuild the files, and print the commands that recover and start them, here or on another host.
    start
        Leave the servers running; they are stopped without it.
    workers
        Threads that work on each node.
    pg_bin
        The bin directory of another PostgreSQL than the embedded one.
    pg_bins
        More bin directories, of other major versions, separated by colons.
    os_user
        The account that runs the servers when root calls.
    set_
        A setting of PostgreSQL, as name=value, where this host cannot honour the snapshot's; several are possible.
    json_
        Print one JSON object.
    """
    from stillhouse.control.restores.without_service import Wanted

    wanted = Wanted(node, port, files_only, start, workers, pg_bin, pg_bins, os_user)
    command.run(lambda: _restore(repository, kek_file, cluster, snapshot, into, wanted, set_, json_=json_))


def _restore(
    repository: str,
    kek_file: Path,
    cluster: str,
    snapshot: str,
    into: Path,
    wanted: "Wanted",
    settings: Sequence[str],
    *,
    json_: bool,
) -> None:
    """Restore the snapshot of that id or name, show the progress, and say what was restored."""
    from stillhouse.cli.terminal.progress import bars
    from stillhouse.control.restores.without_service import restore_alone
    from stillhouse.domain import chosen_settings
    from stillhouse.errors import InvalidInput
    from stillhouse.repository.objects import identity
    from stillhouse.repository.upkeep.inventory import choose
    from stillhouse.workers.jobs import Repository

    if wanted.start and (wanted.node or wanted.files_only):
        raise InvalidInput("files alone cannot be started", hint="leave out --start")
    wanted = replace(wanted, settings=chosen_settings.parse(settings))
    bucket = open_bucket(repository, kek_file, cluster)
    chosen = choose(inventory_of(bucket).snapshots, snapshot)
    place = Repository(repository, identity.demand(bucket.store, repository), bucket.kek)
    with bars() as new_bar:
        done = restore_alone(into, place, chosen.root, wanted, new_bar, command.warn)
    _say_restored(chosen, done, json_=json_)


def _say_restored(chosen: "Found", done: "RestoredAlone", *, json_: bool) -> None:
    user = chosen.root.cluster.user_name
    nodes = [
        {
            "name": node.name,
            "host": node.host,
            "port": node.port,
            "directory": node.directory,
            "socket": node.socket,
        }
        for node in done.nodes
    ]
    if json_:
        command.say_json(
            {
                "snapshot": chosen.id,
                "cluster": done.cluster,
                "user_name": user,
                "opened": done.opened,
                "running": done.running,
                "nodes": nodes,
                "findings": list(done.findings),
                "commands": [line for _, lines in done.commands for line in lines],
            }
        )
        return
    command.say(f"Snapshot {chosen.id} ({chosen.name}) is restored:")
    for node in nodes:
        command.say(f"  {node['name']:<6}{node['host']}:{node['port']}  {node['directory']}")
    for finding in done.findings:
        command.say(f"look at it: {finding}")
    if done.running:
        command.say(
            f"The servers run. Log in, with the password of then:\n"
            f"  psql -h {nodes[0]['host']} -p {nodes[0]['port']} -U {user} {done.database}"
        )
    elif done.opened:
        command.say("The servers are stopped. The same command with --start starts them.")
    else:
        command.say(_BY_HAND)
        for title, lines in done.commands:
            command.say("\n".join((f"\n# {title}", *lines)))


def rebuild_catalog(
    *,
    data: Path,
    repository: Location,
    kek_file: KekFile,
    project: tuple[str, ...] = (),
    json_: Json = False,
) -> None:
    """Make a new catalog out of the repository, for when the old one is lost; then `serve` works on it.

    Clusters without servers below the directory come back as deleted ones: their snapshots are listed, and can be
    restored into new clusters.

    Parameters
    ----------
    data
        A data directory without a catalog, for example an empty one; no service may run on it.
    repository
        A directory or s3://bucket/prefix. The service needs the same in STILLHOUSE_REPOSITORY.
    kek_file
        The file that holds the KEK, which is copied into the data directory.
    project
        Only this project's snapshots; may be given several times.
    json_
        Print one JSON object.
    """
    from stillhouse.bootstrap.rebuild import rebuild_catalog as rebuild
    from stillhouse.cli.terminal import settings
    from stillhouse.domain.cluster import ClusterStatus

    def bring_back() -> None:
        bucket = open_bucket(repository, kek_file)
        made = rebuild(settings.read({"data": data}), bucket.store, bucket.kek, project)
        standing = [one.id for one in made.clusters if one.status is ClusterStatus.AVAILABLE]
        trashed = sum(snapshot.deleted is not None for snapshot in made.snapshots)
        if json_:
            command.say_json(
                {
                    "projects": made.projects,
                    "clusters": [one.id for one in made.clusters],
                    "standing": standing,
                    "snapshots": len(made.snapshots),
                    "trashed": trashed,
                    "told": made.told,
                }
            )
            return
        for sentence in made.told:
            command.say(f"look at it: {sentence}")
        command.say(
            f"{data} has a catalog of {len(made.clusters)} clusters ({len(standing)} with servers here)"
            f" and {len(made.snapshots)} snapshots ({trashed} in the trash).\n"
            f"Access keys are made anew, by `stillhouse key create`, for the projects"
            f" {', '.join(made.projects) or 'that are to come'}."
        )

    command.run(bring_back)


_BY_HAND = (
    "These are files, not recovered yet. The same command without --files-only recovers them. By hand, on any host with"
    " the same version of PostgreSQL, the lines below do it, in this order, in bash. If you move a node's directory,"
    " change the paths, the account and the addresses in them; the directories of tablespaces must keep their paths."
)


def inventory_of(bucket: "Bucket") -> "Inventory":
    from stillhouse.repository.upkeep.inventory import take_inventory

    return take_inventory(bucket.store, bucket.kek, bucket.clusters)


def _told(found: "Found", pg_major: int | None) -> dict[str, Any]:
    root = found.root
    return {
        "id": found.id,
        "name": found.name,
        "cluster": {"id": found.cluster, "name": found.cluster_name},
        "started": root.started,
        "finished": root.finished,
        "size": root.plain_bytes,
        "nodes": [node.name for node in root.nodes],
        "pg_major": pg_major,
        "trashed": found.trashed,
        "damaged": found.lost is not None,
    }
