"""Give each cluster of an earlier version its own account and passwords, once.

The new state is written into the plan first, and the old one stays there until all is done. So if it is killed, the
next call finishes it. The cluster's servers are stopped meanwhile, for seconds.
"""

import os
import secrets
import subprocess
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, InternalError, ProvisionFailed
from stillhouse.postgres.files.tree import Directory, remove_tree
from stillhouse.postgres.host import server
from stillhouse.postgres.host.account import Account
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import Database, databases_of, enter
from stillhouse.postgres.sessions.event_triggers import without_event_triggers
from stillhouse.postgres.sessions.roles import UNLOGGED, furnish
from stillhouse.warehouse.cluster import fdw
from stillhouse.warehouse.cluster.embedded import Site, cluster_directory
from stillhouse.warehouse.cluster.planned_nodes import Plan, read_plan, write_plan

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_ALONE = {"listen_addresses": ""}
_SHUT_OFF = {"archive_mode": "off", "max_logical_replication_workers": "0", "autovacuum": "off"}


def is_due(site: Site, cluster_id: str) -> bool:
    """Whether the hand-over, by the cluster's plan, is not begun or not finished."""
    plan = read_plan(cluster_directory(site, cluster_id), site.sealer)
    return plan is not None and (plan.moved_from is not None or any(not node.secret for node in plan.nodes))


def hand_over(site: Site, cluster_id: str, user_name: str, *, is_whole: bool) -> tuple[Node, ...]:
    """Give the cluster's files to a new account and our roles fresh passwords. Returns its nodes as they are now.

    It stays due until `settle`: the catalog and the flows must know the nodes by then. A cluster that is not
    `is_whole` is still being made or restored: its wiring is left to the flow that goes on. The servers are stopped
    afterwards. Raises the errors of starting and asking servers.
    """
    directory = cluster_directory(site, cluster_id)
    plan = read_plan(directory, site.sealer)
    assert plan is not None, "a cluster that is handed over has a plan"
    if plan.moved_from is None:
        os_user = plan.nodes[0].os_user or site.claim(cluster_id)
        nodes = tuple(
            replace(node, os_user=os_user, secret=node.secret or secrets.token_hex(32)) for node in plan.nodes
        )
        plan = Plan(nodes, _owner(plan.nodes))
        write_plan(directory, site.sealer, plan)
    assert plan.moved_from is not None
    for node in plan.nodes:
        if Path(node.directory).exists():
            server.stop(site.binaries, node)
            remove_tree(Path(node.socket))  # the next start makes it anew
            _give_files(node, plan.moved_from, site.binaries.of(node).account)
            if _may_be_started(node):
                _renew(site, node, user_name if is_whole else None)
    return plan.nodes


def settle(site: Site, cluster_id: str) -> None:
    """End the hand-over: the catalog knows the new nodes."""
    directory = cluster_directory(site, cluster_id)
    plan = read_plan(directory, site.sealer)
    assert plan is not None, "a cluster that is handed over has a plan"
    write_plan(directory, site.sealer, replace(plan, moved_from=None))


def _owner(nodes: tuple[Node, ...]) -> int:
    """The uid that owns the files. A directory that was made a moment ago may still belong to us."""
    owners = {Path(node.directory).lstat().st_uid for node in nodes if Path(node.directory).exists()}
    return next(iter(owners - {os.geteuid()}), os.geteuid())


def _may_be_started(node: Node) -> bool:
    """Whether the node may be started: it is complete, and if it is a clone, its flow has recovered it to the cut."""
    data = Path(node.directory, "pgdata")
    return data.exists() and not os.path.lexists(data / "recovery.signal")


def _give_files(node: Node, owner: int, account: Account | None) -> None:
    if account is None or account.uid == owner:
        return
    places = Path(node.directory, "pgdata", "pg_tblspc")
    links = [place for place in places.iterdir() if place.is_symlink()] if places.is_dir() else []
    for tablespace in (place.readlink() for place in links):
        if not tablespace.is_relative_to(node.directory):
            _give_tree(tablespace, owner, account)
    _give_tree(Path(node.directory), owner, account)


def _give_tree(top: Path, owner: int, account: Account) -> None:
    """Give away everything below `top` that is the owner's, and `top` last. Meanwhile it is closed to all but root.

    A file with several names may belong to another cluster too, as long as all share an account: it is left alone.
    """
    try:
        opened = Directory(os.open(top, _DIRECTORY))
    except FileNotFoundError:
        return
    if os.fstat(opened.descriptor).st_uid not in (owner, account.uid, 0):
        raise ProvisionFailed(f"{top} is another account's", hint=f"give it to uid {account.uid} by hand")
    os.fchown(opened.descriptor, 0, 0)
    os.fchmod(opened.descriptor, 0o700)
    # find(1) follows no links, and does not fail at a thousand nested directories.
    wanted = ["-uid", str(owner), "(", "-type", "d", "-o", "-type", "l", "-o", "-links", "1", ")"]
    give = ["-exec", "chown", "-h", f"{account.uid}:{account.gid}", "{}", "+"]
    answer = subprocess.run(
        ["/usr/bin/find", f"/proc/self/fd/{opened.descriptor}/", "-mindepth", "1", *wanted, *give],
        pass_fds=[opened.descriptor],
        capture_output=True,
        check=False,
    )
    if answer.returncode:
        raise InternalError(f"{top} cannot be given away: {answer.stderr.decode(errors='replace').strip()}")
    os.fchown(opened.descriptor, account.uid, account.gid)


def _renew(site: Site, node: Node, user_name: str | None) -> None:
    """Set fresh passwords, the reader and this version's wiring, through a server that no one else can reach.

    Without a `user_name` the wiring is left alone, and nothing may leave the server: it may be a clone that still has
    its source's settings. A server at work goes on archiving.
    """
    server.start(site.binaries, node, _ALONE if user_name else _ALONE | _SHUT_OFF, locked=True)
    with session.refusing_as(ProvisionFailed, node):
        furnish(node)
        if user_name:
            _renew_wiring(node, user_name)
    server.stop(site.binaries, node)


def renew_functions(coordinator: Node, user_name: str) -> list[str]:
    """Replace our functions where an earlier version made them, on a server at work. Returns these databases' names.

    A database that the user has copied has them too. Raises ProvisionFailed, and NodeUnreachable.
    """
    renewed = []
    with session.refusing_as(ProvisionFailed, coordinator):
        for database in databases_of(coordinator):
            if not database.is_open or database.is_pristine:
                continue
            with (
                suppress(DatabaseClosed),
                closing(enter(coordinator, database, settings=UNLOGGED)) as connection,
            ):
                if fdw.has_old_functions(connection):
                    with connection.transaction(), without_event_triggers(connection):
                        fdw.renew(connection, user_name)
                    renewed.append(str(database))
    return renewed


def _renew_wiring(node: Node, user_name: str) -> None:
    """Renew it in the databases that can be entered: functions of the others cannot be called."""
    for database in databases_of(node):
        if database.is_open:
            with suppress(DatabaseClosed):
                _renew_database(node, database, user_name)


def _renew_database(node: Node, database: Database, user_name: str) -> None:
    with (
        closing(enter(node, database, settings=UNLOGGED)) as connection,
        connection.transaction(),
        without_event_triggers(connection),
    ):
        fdw.renew(connection, user_name)
