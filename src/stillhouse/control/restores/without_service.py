"""Restores a snapshot into a directory with the bucket and the KEK alone, without a catalog or a service.

The directory is laid out as a service's is: nodes below `clusters/<id>`, sockets below `run`. Its `restore.json`
names the restore, so that a killed one can go on, and a directory with another purpose is not touched.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from stillhouse import atomic_file
from stillhouse.config import directories_in
from stillhouse.control.restores import recovery
from stillhouse.data_lock import lock_data_directory
from stillhouse.disk_space import check_room
from stillhouse.domain.cluster import Node
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.errors import InvalidInput, RestoreFailed
from stillhouse.parallel import at_once
from stillhouse.postgres.host.account import make_passable
from stillhouse.repository.format import manifest
from stillhouse.repository.format.cipher_keys import open_keys
from stillhouse.repository.format.root import Root
from stillhouse.warehouse.clone import by_hand
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cluster.upgrade import hand_over, is_due, settle
from stillhouse.workers.jobs import Repository, open_repository

_STATE = "restore.json"
_BEFORE_THE_STATE = frozenset(
    {f"{_STATE}.new", "lock"}
)  # everything that a restore killed at the very start may have left
_USUAL = "/usr/lib/postgresql/{}/bin"  # Debian's place of programs that are not on this host
_SPARE = 64 << 20  # bytes that must stay free beside the restored files

Watch = Callable[[str, int], Callable[[int], None]]
"""Called with a node and its total bytes. Returns a function that takes the bytes written so far."""
Tell = Callable[[str], None]
"""Called with a sentence that a person should read before anything is copied."""


@dataclass(frozen=True)
class Wanted:
    """The wanted restore. `node` is the only node to be rebuilt, "" for all. `port` 0 means the source's port.

    A part of a cluster is never opened, since its connections still lead to the source: `node` implies `files_only`.
    `settings` are PostgreSQL's. They override the snapshot's when the cluster is opened, and do nothing afterwards.
    """

    node: str = ""
    port: int = 0
    files_only: bool = False
    start: bool = False
    workers: int = 2
    pg_bin: Path | None = None
    pg_bins: str = ""
    os_user: str = "stillhouse"
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_of_files(self) -> bool:
        """Whether no server is started. So the host need not have the snapshot's version of PostgreSQL."""
        return self.files_only or bool(self.node)


@dataclass(frozen=True)
class State:
    """The restore that a directory belongs to. `cluster` is the new cluster's id.

    `opened`: all nodes are at their cut, rewired and out of quarantine.
    """

    repository: str
    snapshot: str
    node: str
    port: int
    cluster: str = ""
    opened: bool = False


@dataclass(frozen=True)
class RestoredAlone:
    """The result. `findings` are for a person to look at; they are told once, when the cluster is opened. `commands`
    start files that are not recovered: groups of lines to type, each with a title. `database` is the one to log in to.
    """

    cluster: str
    nodes: tuple[Node, ...]
    opened: bool
    running: bool
    database: str
    findings: tuple[str, ...] = ()
    commands: Sequence[tuple[str, Sequence[str]]] = ()


def restore_alone(
    into: Path, repository: Repository, root: Root, wanted: Wanted, watch: Watch, tell: Tell
) -> RestoredAlone:
    """Rebuild the snapshot's nodes below `into` and, unless only files are wanted, open the cluster.

    If it is killed and called again, the result is the same. A later call starts or stops the servers as `start`
    says. Raises RestoreFailed, and InvalidInput for a directory with another purpose.
    """
    asked = State(repository.id, root.snapshot, wanted.node, wanted.port or root.cluster.port)
    _read_state(into, asked)
    make_passable(into)
    with lock_data_directory(into):
        state = _read_state(into, asked)
        if state is None:
            state = replace(asked, cluster=new_uuid())
            _write_state(into, state)
        more = directories_in(wanted.pg_bins)
        site = embedded.open_site(into, pg_bin=wanted.pg_bin, pg_bins=more, os_user=wanted.os_user)
        store = open_repository(repository)
        keys = open_keys(store, repository.kek, root.cluster.id)
        if wanted.is_of_files:
            _tell_missing(site, recovery.majors_of(store, keys, root), wanted.node, tell)
        else:
            recovery.check_programs(site.binaries, store, keys, root, wanted.settings)
        planned = embedded.plan_nodes(site, state.cluster, root.cluster.number_of_node, state.port)
        if state.opened and is_due(site, state.cluster):
            planned = hand_over(site, state.cluster, root.cluster.user_name, is_whole=True)
            settle(site, state.cluster)
        nodes = _chosen(planned, root, wanted.node)
        _rebuild(site, repository, root, nodes, wanted.workers, watch)
        database = by_hand.database_of(nodes[0])
        if wanted.is_of_files:
            told = () if state.opened else _by_hand(site, repository, root, nodes)
            return RestoredAlone(state.cluster, nodes, state.opened, False, database, commands=told)
        findings: list[str] = []
        if not state.opened:
            findings = recovery.recover(site, root, nodes, chosen=wanted.settings)
            state = replace(state, opened=True)
            _write_state(into, state)
        (embedded.start_all if wanted.start else embedded.stop_all)(site, nodes)
        return RestoredAlone(state.cluster, nodes, True, wanted.start, database, tuple(findings))


def _read_state(into: Path, asked: State) -> State | None:
    """Read the state; `None` for an empty or missing directory. Raises InvalidInput if it differs from `asked`."""
    hint = "restore into a directory of its own"
    try:
        state = State(**json.loads((into / _STATE).read_text()))
    except FileNotFoundError:
        there = sorted(path.name for path in into.iterdir()) if into.exists() else []
        if foreign := [name for name in there if name not in _BEFORE_THE_STATE]:
            raise InvalidInput(f"{into} is not empty: it holds {foreign[0]}", hint=hint) from None
        return None
    except (NotADirectoryError, ValueError, TypeError):
        raise InvalidInput(f"{into} is no directory of a restore", hint=hint) from None
    if replace(state, cluster="", opened=False) != asked:
        raise InvalidInput(
            f"{into} holds a restore of snapshot {state.snapshot}"
            f" ({f'node {state.node}' if state.node else 'all nodes'}, port {state.port})",
            hint=hint,
        )
    return state


def _write_state(into: Path, state: State) -> None:
    atomic_file.replace(into / _STATE, json.dumps(asdict(state), indent=1).encode())


def _chosen(planned: Sequence[Node], root: Root, name: str) -> tuple[Node, ...]:
    known = {stored.name for stored in root.nodes}
    if name and name not in known:
        raise InvalidInput(
            f"the snapshot has no node {name}", hint=f"its nodes are {', '.join(sorted(known))}"
        )
    nodes = tuple(node for node in planned if node.name == name or not name)
    if missing := known ^ {node.name for node in planned}:
        raise RestoreFailed(
            f"the snapshot's nodes are not those of its cluster: {', '.join(sorted(missing))}"
        )
    return nodes


def _rebuild(
    site: Site, repository: Repository, root: Root, nodes: Sequence[Node], workers: int, watch: Watch
) -> None:
    """Rebuild all nodes at once, each in a process of its own. If one fails, the others are stopped."""
    missing = [node for node in nodes if not recovery.is_rebuilt(node)]
    sizes = {node.name: recovery.bytes_of(root, node) for node in missing}
    if missing:
        check_room(site.data, sum(sizes.values()) + _SPARE)

    def one(node: Node, check: Callable[[], None]) -> None:
        show = watch(node.name, sizes[node.name])
        recovery.rebuild_node(site, repository, root, node, workers, check=check, show=show)
        show(sizes[node.name])

    at_once(one, missing, recovery.NODES_AT_ONCE)


def _tell_missing(site: Site, majors: Mapping[str, int], node: str, tell: Tell) -> None:
    """Files need no programs here, but the commands that start them do, wherever that is."""
    for major in sorted({major for name, major in majors.items() if node in ("", name)}):
        if site.binaries.of_major(major) is None:
            tell(
                f"the snapshot {site.binaries.why_not(major)}: the files are restored, and can be started where"
                f" PostgreSQL {major} is; the commands name {_USUAL.format(major)}"
            )


def _by_hand(
    site: Site, repository: Repository, root: Root, nodes: Sequence[Node]
) -> Sequence[tuple[str, Sequence[str]]]:
    """Make the files ready to be started by a person, on any host. Returns the commands to type."""
    store, shared = open_repository(repository), site.binaries.account
    keys = open_keys(store, repository.kek, root.cluster.id)
    grounds = []
    for node in nodes:
        stored = root.node(node.name)
        point = RestorePoint(node.id, stored.cut_name, stored.cut_lsn, stored.timeline)
        major = manifest.major_version(manifest.read(store, keys, stored.stored))
        ours = site.binaries.of_major(major)
        programs = ours.directory if ours else Path(_USUAL.format(major))
        account = node.os_user or (shared.name if shared else "")
        grounds.append(by_hand.Ground(node, point, stored.capacity, major, programs, account))
    for ground in grounds:
        by_hand.prepare(ground, recovery.source_nodes(root), nodes)
    return by_hand.commands(grounds, root.cluster.user_name, is_whole=len(nodes) == len(root.nodes))
