"""A restored clone cut loose from its source: its servers, passwords and subscriptions made its own.

Runs while the clone is in quarantine: reached by sockets only, with no logical replication workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import RestoreFailed
from stillhouse.postgres import session
from stillhouse.postgres.event_triggers import without_event_triggers
from stillhouse.postgres.roles import UNLOGGED
from stillhouse.postgres.session import Connection, sql
from stillhouse.warehouse import fdw
from stillhouse.warehouse.parking import OWN_OPTIONS, UNPARK_ONE

_DATABASES = "SELECT datname, datallowconn FROM pg_database WHERE datname <> 'template0' ORDER BY oid"

# By handler and validator, since a wrapper itself may be created under any name.
_SERVERS = f"""
    SELECT s.oid, s.srvname,
           coalesce(h.proname = 'postgres_fdw_handler', false) OR coalesce(v.proname = 'dblink_fdw_validator', false),
           coalesce((SELECT jsonb_object_agg(option_name, option_value)
                       FROM pg_options_to_table({OWN_OPTIONS})), '{{}}')
      FROM pg_foreign_server s
      JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
      LEFT JOIN pg_proc h ON h.oid = w.fdwhandler
      LEFT JOIN pg_proc v ON v.oid = w.fdwvalidator
     ORDER BY s.oid
"""

# The role a mapping logs in as: as it says, else the local user's own name; a PUBLIC one names nobody.
_MAPPINGS = """
    SELECT r.rolname,
           coalesce((SELECT option_value FROM pg_options_to_table(m.umoptions) WHERE option_name = 'user'), r.rolname),
           EXISTS (SELECT FROM pg_options_to_table(m.umoptions) WHERE option_name = 'password')
      FROM pg_user_mapping m LEFT JOIN pg_roles r ON r.oid = m.umuser
     WHERE m.umserver = %s
"""

_SUBSCRIPTIONS = """
    SELECT subname FROM pg_subscription
     WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY oid
"""

Address = tuple[str, int]


@dataclass(frozen=True)
class Stranger:
    """A foreign server that is none of the source's nodes and was left as it is; a person should look at it."""

    node: str
    database: str
    server: str
    address: str


@dataclass
class Rewired:
    """What was changed, and what was not. `closed` are databases that refuse connections and were not seen into."""

    servers: int = 0
    strangers: list[Stranger] = field(default_factory=list)
    subscriptions: list[tuple[str, str, str]] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)


def rewire(nodes: Sequence[Node], user_name: str, source: Sequence[Node]) -> Rewired:
    """Point every server that names a node of `source` to the clone's node of the same name.

    Each database is changed in one transaction; killed anywhere and called again, it ends the same.
    """
    targets = _targets(nodes, source)
    passwords = _renew_passwords(nodes, user_name, targets)
    rewired = Rewired()
    for node in nodes:
        for database, open_to_us in _databases(node):
            if not open_to_us:
                rewired.closed.append((node.name, database))
                continue
            with _transaction(node, database) as connection:
                _rewire_servers(connection, node, database, targets, passwords, rewired)
                _part_subscriptions(connection, node, database, rewired)
                fdw.renew(connection, user_name)
    return rewired


def _targets(nodes: Sequence[Node], source: Sequence[Node]) -> dict[Address, Node]:
    """What each known address means now: the source's, and the clone's own after an earlier call."""
    own = {node.name: node for node in nodes}
    missing = sorted(node.name for node in source if node.name not in own)
    if missing:
        raise RestoreFailed(f"the clone has no node named {', '.join(missing)}, which its source has")
    return {(node.host, node.port): own[node.name] for node in (*source, *nodes)}


def _renew_passwords(
    nodes: Sequence[Node], user_name: str, targets: Mapping[Address, Node]
) -> dict[tuple[str, str], str]:
    """A fresh password for every (data node, role) that a user mapping logs in as, and for the user's role.

    The coordinator's passwords are people's own, and stay those of the cut.
    """
    data_nodes = [node for node in nodes if node.role is Role.DN]
    wanted = {(node.name, user_name) for node in data_nodes}
    for node in nodes:
        for database, open_to_us in _databases(node):
            if open_to_us:
                with _transaction(node, database) as connection:
                    wanted |= _mapped_roles(connection, targets)
    passwords = {}
    for node in data_nodes:
        with _transaction(node, "postgres") as connection:
            known = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role in sorted(role for name, role in wanted if name == node.name and role in known):
            password = passwords[node.name, role] = fdw.new_password()
            fdw.set_password(node, role, password)
    return passwords


def _mapped_roles(connection: Connection, targets: Mapping[Address, Node]) -> set[tuple[str, str]]:
    return {
        (target.name, remote)
        for oid, _, speaks_libpq, options in connection.execute(_SERVERS).fetchall()
        if speaks_libpq and (target := _target(options, targets)) is not None and target.role is Role.DN
        for _, remote, _ in connection.execute(_MAPPINGS, [oid]).fetchall()
        if remote is not None
    }


def _rewire_servers(
    connection: Connection,
    node: Node,
    database: str,
    targets: Mapping[Address, Node],
    passwords: Mapping[tuple[str, str], str],
    rewired: Rewired,
) -> None:
    for oid, name, speaks_libpq, options in connection.execute(_SERVERS).fetchall():
        target = _target(options, targets) if speaks_libpq else None
        if target is None:
            rewired.strangers.append(Stranger(node.name, database, name, _address_text(options)))
            continue
        connection.execute(UNPARK_ONE.encode(), [oid])
        changes = {key: target.host for key in ("host", "hostaddr") if key in options}
        changes["port"] = str(target.port)
        connection.execute(
            sql.SQL("ALTER SERVER {} OPTIONS ({})").format(
                sql.Identifier(name),
                sql.SQL(", ").join(
                    _option(key, value, present=key in options) for key, value in changes.items()
                ),
            )
        )
        rewired.servers += 1
        for local, remote, has_password in connection.execute(_MAPPINGS, [oid]).fetchall():
            if (target.name, remote) in passwords:
                connection.execute(
                    sql.SQL("ALTER USER MAPPING FOR {} SERVER {} OPTIONS ({})").format(
                        sql.SQL("PUBLIC") if local is None else sql.Identifier(local),
                        sql.Identifier(name),
                        _option("password", passwords[target.name, remote], present=has_password),
                    )
                )


def _part_subscriptions(connection: Connection, node: Node, database: str, rewired: Rewired) -> None:
    """Disabled, and without a slot: enabled or dropped, the clone's can never touch the slot of the source's."""
    for (name,) in connection.execute(_SUBSCRIPTIONS).fetchall():
        subscription = sql.Identifier(name)
        connection.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(subscription))
        connection.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(subscription))
        rewired.subscriptions.append((node.name, database, name))


def _target(options: Mapping[str, str], targets: Mapping[Address, Node]) -> Node | None:
    """The clone's node that a server's options mean; hostaddr is where libpq connects when both are given."""
    host = options.get("hostaddr", options.get("host", ""))
    port = options.get("port", "5432")
    return targets.get((host, int(port))) if port.isdecimal() else None


def _option(name: str, value: str, *, present: bool) -> sql.Composed:
    verb = sql.SQL("SET" if present else "ADD")
    return sql.SQL("{} {} {}").format(verb, sql.Identifier(name), sql.Literal(value))


def _address_text(options: Mapping[str, str]) -> str:
    host = options.get("hostaddr", options.get("host", ""))
    return f"{host}:{options['port']}" if "port" in options else host


def _databases(node: Node) -> list[tuple[str, bool]]:
    with _transaction(node, "postgres") as connection:
        return [(name, allowed) for name, allowed in connection.execute(_DATABASES).fetchall()]


@contextmanager
def _transaction(node: Node, database: str) -> Iterator[Connection]:
    with (
        session.refusing_as(RestoreFailed, node),
        closing(
            session.connect(
                node,
                database,
                autocommit=False,
                application_name="stillhouse rewire",
                settings=UNLOGGED,
            )
        ) as connection,
        connection.transaction(),
        without_event_triggers(connection),
    ):
        yield connection
