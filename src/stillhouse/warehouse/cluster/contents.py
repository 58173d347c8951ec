"""The contents of a cluster's databases, for people who ask: names, sizes and settings, read by short queries.

PostgreSQL's own schemas and ours are left out: no one can take a snapshot of one, or restore it.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from stillhouse.domain.cluster import Cluster, Node, Role
from stillhouse.domain.reports.contents import Kind, SchemaSize, Setting
from stillhouse.errors import DatabaseUnknown, InternalError, shown
from stillhouse.postgres.sessions import databases, session
from stillhouse.postgres.sessions.reading import enter_as_reader
from stillhouse.postgres.sessions.session import Connection, ask_at_once, sql
from stillhouse.postgres.sessions.text import Codec

# A person waits for the answer. A lock in the way must not hold up the service.
_LIMITS = {"statement_timeout": "10s", "lock_timeout": "2s", "default_transaction_read_only": "on"}

# Tables that are being restored are in schemas with the last prefix until all are there.
_IS_USERS = (
    "n.nspname !~ '^(pg_|stillhouse_tables_)' AND n.nspname NOT IN ('information_schema', 'stillhouse')"
)
_SCHEMAS = f"SELECT n.nspname FROM pg_namespace n WHERE {_IS_USERS} ORDER BY n.nspname"
_RELATIONS = f"""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind::text = ANY(%s) AND NOT c.relispartition AND {_IS_USERS} ORDER BY n.nspname, c.relname
"""
_FUNCTIONS = f"""
    SELECT DISTINCT n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE {_IS_USERS} ORDER BY n.nspname, p.proname
"""
_NAMED = f"""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND {_IS_USERS}
"""
_NAMED_TABLES = f"{_NAMED} AND c.relkind IN ('r', 'p', 'f')"
_SIZES = f"""
    SELECT n.nspname, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
      FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'm')
     WHERE {_IS_USERS} GROUP BY n.nspname
"""
# This session was opened with our settings. They are reset to the values in the server's files. This is sent in one
# message with the query that follows, because the time limit in force is the one at the message's beginning.
_AS_SERVED = """
    SELECT count(set_config(s.name, coalesce(f.setting, s.boot_val), false))
      FROM pg_settings s
      LEFT JOIN LATERAL (SELECT setting FROM pg_file_settings
                          WHERE lower(name) = lower(s.name) AND applied ORDER BY seqno DESC LIMIT 1) f ON true
     WHERE s.source IN ('client', 'session') AND s.context IN ('user', 'superuser')
       AND s.name NOT IN ('role', 'session_authorization', 'client_encoding')
"""
_SETTINGS = """
    SELECT name, setting, boot_val, unit, vartype, context, min_val, max_val,
           pg_catalog.array_to_string(enumvals, ','), short_desc
      FROM pg_catalog.pg_settings ORDER BY name
"""


_RELKINDS = {Kind.TABLE: ["r", "p", "f"], Kind.VIEW: ["v", "m"]}


def list_databases(node: Node) -> list[str]:
    """The databases that people use, without templates and databases that cannot be entered."""
    with session.refusing_as(InternalError, node):
        return sorted(str(database) for database in _open_to_people(node))


def list_names(node: Node, kind: Kind, database: str, schema: str | None) -> list[str]:
    """Names of one kind in a database, in one schema of it if one is given; DatabaseUnknown for another database."""
    if kind is Kind.DATABASE:
        return list_databases(node)
    with _asking_in(node, database) as connection:
        if kind is Kind.SCHEMA:
            return [shown(name) for (name,) in connection.execute(_SCHEMAS).fetchall()]
        if kind is Kind.FUNCTION:
            found = connection.execute(_FUNCTIONS).fetchall()
        else:
            found = connection.execute(_RELATIONS, [_RELKINDS[kind]]).fetchall()
    return [shown(name) for in_schema, name in found if schema in (None, shown(in_schema))]


def existing_schemas(node: Node, database: str, asked: Sequence[str]) -> list[str]:
    """The names that are schemas, in the order asked."""
    present = set(list_names(node, Kind.SCHEMA, database, None))
    return [name for name in asked if name in present]


def existing_tables(node: Node, database: str, asked: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """The (schema, table) pairs that exist. Partitions count, views do not."""
    return _named(node, database, _NAMED_TABLES, asked)


def taken_names(node: Node, database: str, asked: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """The (schema, name) pairs that no new table can have. Relations of all kinds share their names."""
    return _named(node, database, _NAMED, asked)


def schema_sizes(cluster: Cluster, database: str) -> list[SchemaSize]:
    """The sizes of the coordinator's schemas on the data nodes; a single server holds its own."""
    sizes: dict[str, dict[str, int]] = {
        name: {} for name in list_names(cluster.coordinator, Kind.SCHEMA, database, None)
    }
    for node in cluster.data_nodes or cluster.nodes:
        with _asking_in(node, database) as connection:
            on_node = {shown(name): size for name, size in connection.execute(_SIZES).fetchall()}
        for name, on_nodes in sizes.items():
            on_nodes[node.name] = on_node.get(name, 0)
    return [SchemaSize(name, on_nodes) for name, on_nodes in sizes.items()]


def settings_of(node: Node, user_name: str) -> list[Setting]:
    """The settings that the cluster's own user may see. A superuser would see details of the host."""
    with _asking(session.connect(node, databases.MAINTENANCE, settings=_LIMITS), node) as connection:
        become = sql.SQL("SET ROLE {}").format(sql.Identifier(user_name)).as_string(connection)
        (replies,) = ask_at_once([connection], f"{_AS_SERVED}; {become}; {_SETTINGS}")
        if isinstance(replies, session.Error):
            raise replies
    found = [[shown(field or "") for field in row] for row in replies[-1]]
    return [
        Setting(name, value, default, unit, kind, context, (low, high), choices, description)
        for name, value, default, unit, kind, context, low, high, choices, description in found
    ]


def roles_of(cluster: Cluster) -> list[Node]:
    """One node of each role: all nodes of a role are set up alike."""
    data_node = next((node for node in cluster.nodes if node.role is Role.DN), None)
    return [cluster.coordinator] if data_node is None else [cluster.coordinator, data_node]


def _named(node: Node, database: str, query: str, asked: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    with _asking_in(node, database) as connection:
        codec = Codec(connection)
        sayable = [pair for pair in asked if all(map(codec.can_say, pair))]
        names = [schema for schema, _ in sayable], [name for _, name in sayable]
        return {(schema, name) for schema, name in connection.execute(query.encode(), names)}


def _open_to_people(node: Node) -> list[databases.Database]:
    return [one for one in databases.databases_of(node) if one.kind is databases.Kind.OPEN]


@contextmanager
def _asking_in(node: Node, database: str) -> Iterator[Connection]:
    """A session in a database that people see, by the name under which they see it."""
    with session.refusing_as(InternalError, node):
        found = [one for one in _open_to_people(node) if str(one) == database]
        if not found:
            raise DatabaseUnknown("the database does not exist")
        entered = enter_as_reader(node, found[0], settings=_LIMITS)
    with _asking(entered, node) as connection:
        yield connection


@contextmanager
def _asking(connection: Connection, node: Node) -> Iterator[Connection]:
    with session.refusing_as(InternalError, node), closing(connection):
        yield connection
