"""Restored files that a person starts, on any host: the files of settings that they need, and the commands to type.

The commands do what a restore does by itself: recover to the cut with every way in and out shut, point foreign servers
from the source's nodes to the restored ones, and let clients in. Commands run in the node's directory and name its
files from there, so the directory may be moved.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.snapshot import RestorePoint
from stillhouse.postgres.files.settings_file import as_lines
from stillhouse.postgres.files.tree import Tree
from stillhouse.postgres.host import server
from stillhouse.postgres.host.memory import memory_bytes
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.warehouse.clone import quarantine_settings
from stillhouse.warehouse.clone.quarantine import recovery_settings, set_aside, source_settings, text_of
from stillhouse.warehouse.clone.release import SETTLED
from stillhouse.warehouse.cluster import fdw

_RECOVER, _OPEN, _ACCESS, _REWIRE = "recover.conf", "open.conf", "access.conf", "rewire.sql"
_SIGNAL = "recovery.signal"
_DAY = 86_400
# The paths begin at the node's directory, where the server is started. That of the socket begins at the data directory.
_PLACES = {"hba_file": _ACCESS, "ident_file": "pgdata/pg_ident.conf", "external_pid_file": ""}
_SOCKET = {"unix_socket_directories": "..", "unix_socket_permissions": "0700"}
_ACCESS_RULES = """\
# The socket is in this directory, which its owner alone can enter: whoever reaches it may do all that the server can.
local all         all             trust
host  replication all all         reject
host  all         all 127.0.0.0/8 scram-sha-256
"""
# Work that would begin by itself and reach out, as at the source.
_QUIET = {
    "max_logical_replication_workers": "0",
    "cron.launch_active_jobs": "off",
    "citus.recover_2pc_interval": "-1",
    "citus.distributed_deadlock_detection_factor": "-1",
}
# Rows are changed, not objects: no event trigger fires. A server with several addresses leads to the first known one.
_REWIRING = """\
-- Points foreign servers from the source's nodes to the restored ones, and parts subscriptions from their publishers.
\\set ON_ERROR_STOP on
SET search_path = pg_catalog, pg_temp;
BEGIN READ WRITE;
CREATE TEMPORARY TABLE moved (host text, port text, new_host text, new_port text);
INSERT INTO moved VALUES
  {addresses};
WITH given AS (
    SELECT s.oid, address.*, string_to_array(given.port, ',') AS ports
      FROM pg_foreign_server s
     CROSS JOIN LATERAL (
           SELECT coalesce(max(option_value) FILTER (WHERE option_name = 'hostaddr'),
                           max(option_value) FILTER (WHERE option_name = 'host')) AS hosts,
                  coalesce(max(option_value) FILTER (WHERE option_name = 'port'), '5432') AS port
             FROM pg_options_to_table(s.srvoptions)) AS given
     CROSS JOIN LATERAL unnest(string_to_array(given.hosts, ',')) WITH ORDINALITY AS address (host, number)
), found AS (
    SELECT DISTINCT ON (given.oid) given.oid, moved.new_host, moved.new_port
      FROM given JOIN moved ON moved.host = given.host AND moved.port = coalesce(given.ports[number], given.ports[1])
     ORDER BY given.oid, given.number
)
UPDATE pg_foreign_server s
   SET srvoptions = ARRAY(SELECT o FROM unnest(s.srvoptions) o
                           WHERE split_part(o, '=', 1) NOT IN ('host', 'hostaddr', 'port'))
                    || ARRAY['host=' || found.new_host, 'port=' || found.new_port]
  FROM found WHERE s.oid = found.oid
RETURNING s.srvname AS "foreign server", s.srvoptions AS "leads to";
UPDATE pg_subscription SET subenabled = false, subslotname = NULL RETURNING subname AS "subscription, parted";
SELECT s.srvname AS "foreign server, left as it is", s.srvoptions AS "leads to" FROM pg_foreign_server s
 WHERE NOT EXISTS (SELECT FROM moved WHERE s.srvoptions @> ARRAY['host=' || new_host, 'port=' || new_port]);
DROP TABLE moved;
COMMIT;
"""


@dataclass(frozen=True)
class Ground:
    """A restored node, and the facts that its start depends on. `programs` is the directory of PostgreSQL's programs of
    the version `major`; they need not be on this host. They run as `account`, "" for the person's own. `capacity` are
    the capacities that the source had.
    """

    node: Node
    point: RestorePoint
    capacity: Mapping[str, str]
    major: int
    programs: Path
    account: str


def prepare(ground: Ground, source: Sequence[Node], nodes: Sequence[Node]) -> None:
    """Write the files that the commands name, beside the node's data directory. A node that is recovered is left alone.

    `source` are the nodes as they were, `nodes` the restored ones.
    """
    node, tree = ground.node, Tree(Path(ground.node.directory))
    if _SIGNAL not in tree.names("pgdata"):
        return
    set_aside(tree)
    settings, memory = source_settings(node), memory_bytes()
    inherited = quarantine_settings.inherited(settings)
    recover = {
        **inherited,
        **quarantine_settings.ours(ground.major, settings, ground.capacity, memory),
        **recovery_settings(node, ground.point),
    }
    open_ = {
        **inherited,
        **quarantine_settings.modest(settings, ground.capacity, memory),
        **SETTLED,
        **_QUIET,
        "listen_addresses": node.host,
    }
    common = {**_PLACES, **_SOCKET, "port": str(node.port)}
    tree.replace(_RECOVER, _file("For the recovery alone: nothing comes in or goes out.", recover | common))
    tree.replace(_OPEN, _file(_OPEN_HEAD, open_ | common))
    tree.replace(_ACCESS, _ACCESS_RULES.encode())
    here = {one.name: one for one in nodes}
    tree.replace(_REWIRE, _rewiring([(one, here[one.name]) for one in source if one.name in here]))


_OPEN_HEAD = (
    "The source's own settings are in pgdata/postgresql.conf and source.auto.conf. Take over only those that lead to"
    "\n# nothing of the source's: its archive, for example."
)


def _file(head: str, settings: Mapping[str, str]) -> bytes:
    return text_of([f"# Written by Stillhouse. {head}", *as_lines(settings)])


def _rewiring(pairs: Sequence[tuple[Node, Node]]) -> bytes:
    rows = [(was.host, str(was.port), now.host, str(now.port)) for was, now in pairs]
    values = ["(" + ", ".join("'" + value.replace("'", "''") + "'" for value in row) + ")" for row in rows]
    return _REWIRING.format(addresses=",\n  ".join(values)).encode()


def commands(grounds: Sequence[Ground], user_name: str, *, is_whole: bool) -> list[tuple[str, list[str]]]:
    """Return the commands to type, in order, with a title for each group.

    If the nodes are not the `is_whole` cluster, they are for the recovery alone: other nodes are at the source.
    """
    # The coordinator is the last: when it answers, all of it works.
    ordered = sorted(grounds, key=lambda one: one.node.role is Role.CN)
    groups = [(f"Recover {one.node.name}, by PostgreSQL {one.major}:", [_recover(one)]) for one in ordered]
    if not is_whole:
        return groups
    groups += [(f"Cut {one.node.name} loose from its source:", [_rewire(one)]) for one in ordered]
    groups += [(f"Open {one.node.name} at {one.node.host}:{one.node.port}:", [_open(one)]) for one in ordered]
    if not user_name:
        return groups
    last = ordered[-1]
    at = f"-h {last.node.host} -p {last.node.port} -U {shlex.quote(user_name)}"
    return [
        *groups,
        ("Log in, with the password of then:", [f"{_program(last, 'psql')} {at} {database_of(last.node)}"]),
    ]


def database_of(node: Node) -> str:
    """Return the database to log in to: that of a warehouse's users, or on somebody's server the one that all have."""
    return fdw.DATABASES[-1] if server.first_role(node) == session.SUPERUSER else MAINTENANCE


def _recover(ground: Ground) -> str:
    """Start the recovery and wait for its end: pg_ctl returns while a server without hot standby still recovers."""
    ready = f"{_as_account(ground)}{_program(ground, 'pg_isready')} -q {_at_socket(ground)}"
    alive = f"{_as_account(ground)}{_program(ground, 'pg_ctl')} -D pgdata status >/dev/null"
    return _inside(ground, f"{_start(ground, _RECOVER, 'start')}; until {ready}; do {alive}; sleep 1; done")


def _open(ground: Ground) -> str:
    return _inside(ground, _start(ground, _OPEN, "restart"))


def _start(ground: Ground, settings: str, action: str) -> str:
    options = f"-D pgdata -w -t {_DAY} -l server.log -o '-c config_file={settings}'"
    return f"{_as_account(ground)}{_program(ground, 'pg_ctl')} {options} {action}"


def _rewire(ground: Ground) -> str:
    at = f"{_at_socket(ground)} -U {shlex.quote(server.first_role(ground.node))} -X -q"
    psql = f"{_as_account(ground)}{_program(ground, 'psql')} {at}"
    listed = f'{psql} -At -c "SELECT datname FROM pg_database WHERE datallowconn" postgres'
    each = f'PGDATABASE="$name" {psql} -f {_REWIRE} </dev/null'
    return _inside(ground, f"{listed} | while IFS= read -r name; do {each}; done")


def _at_socket(ground: Ground) -> str:
    return f"-h {shlex.quote(ground.node.directory)} -p {ground.node.port}"


def _inside(ground: Ground, commands: str) -> str:
    """Run commands in the node's directory, and stop at the first that fails."""
    return f"(set -eo pipefail; cd {shlex.quote(ground.node.directory)}; {commands})"


def _as_account(ground: Ground) -> str:
    return f"runuser -u {ground.account} -- " if ground.account else ""


def _program(ground: Ground, name: str) -> str:
    return shlex.quote(str(ground.programs / name))
