"""Cut a restored clone loose from its source: give it its own servers, passwords and subscriptions.

Runs while the clone is in quarantine: reached by sockets only, with no logical replication workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import DatabaseClosed, RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE, Database, databases_of, enter, reopened, shut
from stillhouse.postgres.sessions.event_triggers import without_event_triggers
from stillhouse.postgres.sessions.roles import UNLOGGED
from stillhouse.postgres.sessions.session import Connection, sql
from stillhouse.postgres.sessions.text import Codec, decode
from stillhouse.warehouse.clone.foreign_servers import OWN_OPTIONS, UNPARK_ONE
from stillhouse.warehouse.cluster import fdw
from stillhouse.warehouse.gate.coordinator_catalog import addresses

# Servers are found by handler and validator, since a wrapper itself may be created under any name.
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

# The role that a mapping logs in as: the one it names, else the local user. A mapping for PUBLIC names no role.
_MAPPINGS = """
    SELECT m.oid,
           coalesce((SELECT option_value FROM pg_options_to_table(m.umoptions) WHERE option_name = 'user'), r.rolname),
           EXISTS (SELECT FROM pg_options_to_table(m.umoptions) WHERE option_name = 'password')
      FROM pg_user_mapping m LEFT JOIN pg_roles r ON r.oid = m.umuser
     WHERE m.umserver = %s
"""
# The server builds the statement: one in this database cannot contain every role's name.
_RENEW = """
    DO $do$ BEGIN
        EXECUTE (SELECT pg_catalog.format('ALTER USER MAPPING FOR %s SERVER %I OPTIONS (%s password %L)',
                            CASE umuser WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(usename) END,
                            srvname, {verb}, {password})
                   FROM pg_catalog.pg_user_mappings WHERE umid = {mapping});
    END $do$
"""

_SUBSCRIPTIONS = """
    SELECT subname FROM pg_subscription
     WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY oid
"""

Address = tuple[str, int]


@dataclass(frozen=True)
class Stranger:
    """A foreign server outside the source's nodes, which was left as it is. A person should look at it."""

    node: str
    database: str
    server: str
    address: str


@dataclass
class Rewired:
    """The changes, and the things left unchanged.

    `closed` are databases that we could not see into: no one enters them in the clone.
    """

    servers: int = 0
    strangers: list[Stranger] = field(default_factory=list)
    subscriptions: list[tuple[str, str, str]] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)


def rewire(nodes: Sequence[Node], user_name: str, source: Sequence[Node]) -> Rewired:
    """Point every server that names a node of `source` to the clone's node of the same name.

    Each database is changed in one transaction. If it is killed, the next call finishes it.
    """
    targets = _targets(nodes, source)
    passwords = _renew_passwords(nodes, user_name, targets)
    rewired = Rewired()
    for node in nodes:
        for database in databases_of(node):
            try:
                with _transaction_in(node, database) as connection:
                    _rewire_servers(connection, node, str(database), targets, passwords, rewired)
                    _part_subscriptions(connection, node, str(database), rewired)
                    fdw.renew(connection, user_name)
            except DatabaseClosed:
                if database.is_open:
                    shut(node, database)
                rewired.closed.append((node.name, str(database)))
    return rewired


def _targets(nodes: Sequence[Node], source: Sequence[Node]) -> dict[Address, Node]:
    """The clone's node for each known address: the source's, and the clone's own after an earlier call."""
    own = {node.name: node for node in nodes}
    missing = sorted(node.name for node in source if node.name not in own)
    if missing:
        raise RestoreFailed(f"the clone has no node named {', '.join(missing)}, which its source has")
    return {(node.host, node.port): own[node.name] for node in (*source, *nodes)}


def _renew_passwords(
    nodes: Sequence[Node], user_name: str, targets: Mapping[Address, Node]
) -> dict[tuple[str, str], str]:
    """Set a fresh password for every (data node, role) that a user mapping logs in as, and for the user's role.

    The coordinator's passwords belong to people, and stay as at the cut.
    """
    data_nodes = [node for node in nodes if node.role is Role.DN]
    wanted = {(node.name, user_name) for node in data_nodes}
    for node in nodes:
        for database in databases_of(node):
            with suppress(DatabaseClosed), _transaction_in(node, database) as connection:
                wanted |= _mapped_roles(connection, targets)
    passwords = {}
    for node in data_nodes:
        with closing(session.connect(node, MAINTENANCE)) as connection:
            roles = connection.execute("SELECT namesend(rolname) FROM pg_roles").fetchall()
        known = {decode(name) for (name,) in roles}
        for role in sorted(role for name, role in wanted if name == node.name and role in known):
            password = passwords[node.name, role] = fdw.new_password()
            fdw.set_password(node, role, password)
    return passwords


def _mapped_roles(connection: Connection, targets: Mapping[Address, Node]) -> set[tuple[str, str]]:
    codec = Codec(connection)
    return {
        (target.name, codec.shared(remote))
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
        for mapping, remote, has_password in connection.execute(_MAPPINGS, [oid]).fetchall():
            role = "" if remote is None else Codec(connection).shared(remote)
            if (target.name, role) in passwords:
                connection.execute(
                    sql.SQL(_RENEW).format(
                        verb=sql.Literal("SET" if has_password else "ADD"),
                        password=sql.Literal(passwords[target.name, role]),
                        mapping=sql.Literal(mapping),
                    )
                )


def _part_subscriptions(connection: Connection, node: Node, database: str, rewired: Rewired) -> None:
    """Disable subscriptions and detach their slots: enabled or dropped, they can never touch the source's slots."""
    for (name,) in connection.execute(_SUBSCRIPTIONS).fetchall():
        subscription = sql.Identifier(name)
        connection.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(subscription))
        connection.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(subscription))
        rewired.subscriptions.append((node.name, database, name))


def _target(options: Mapping[str, str], targets: Mapping[Address, Node]) -> Node | None:
    """The clone's node that a server's options mean. hostaddr is where libpq connects when both are given.

    Of several addresses, of a primary and its standbys, one that is known is enough.
    """
    given = addresses(options.get("hostaddr", options.get("host")), options.get("port"))
    return next((targets[address] for address in given if address in targets), None)


def _option(name: str, value: str, *, present: bool) -> sql.Composed:
    verb = sql.SQL("SET" if present else "ADD")
    return sql.SQL("{} {} {}").format(verb, sql.Identifier(name), sql.Literal(value))


def _address_text(options: Mapping[str, str]) -> str:
    host = options.get("hostaddr", options.get("host", ""))
    return f"{host}:{options['port']}" if "port" in options else host


@contextmanager
def _transaction_in(node: Node, database: Database) -> Iterator[Connection]:
    """A session in any database, even a closed one: no one else is there.

    Raises DatabaseClosed if it cannot be opened.
    """
    with reopened(node, database) as entered, _transaction(node, entered) as connection:
        yield connection


@contextmanager
def _transaction(node: Node, database: Database) -> Iterator[Connection]:
    with (
        session.refusing_as(RestoreFailed, node),
        closing(
            enter(
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
