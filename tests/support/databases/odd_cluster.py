"""A cluster whose servers hold databases of every kind, and impose on sessions whatever can be imposed on them."""

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.sessions.session import SUPERUSER, Connection, sql
from support.databases.impositions import impose
from support.databases.writers import until
from support.servers.warehouses import USER, log_in
from support.snapshots.cuts import ask, superuser, tell

RAW = "caf\udce9"  # 'café' as a client that speaks LATIN1 says it
WIRED = ("modelled", "shut")
# Set in files, for everyone. Only the databases set preloaded libraries, which nobody but a superuser gets around.
ON_THE_SERVER = {
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "transaction_timeout": "3s",  # from a file it holds for the login itself, which nobody would get through in 1 ms
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "search_path": "theirs",
    "row_security": "off",
    "zero_damaged_pages": "on",
    "ignore_checksum_failure": "on",
    "session_replication_role": "replica",
    "track_activities": "off",
    "exit_on_error": "on",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "client_min_messages": "error",
    "default_table_access_method": "heap",
    "xmloption": "document",
}
_FORBID = """
    CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'no DDL here'; END $$;
    CREATE EVENT TRIGGER forbid ON ddl_command_start EXECUTE FUNCTION public.forbid();
    ALTER EVENT TRIGGER forbid ENABLE ALWAYS
"""
_GREET = """
    CREATE TABLE public.seen (who text);
    GRANT ALL ON public.seen TO PUBLIC;
    CREATE FUNCTION public.greet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.seen VALUES (current_user); END $$;
    CREATE EVENT TRIGGER greet ON login EXECUTE FUNCTION public.greet();
    ALTER EVENT TRIGGER greet ENABLE ALWAYS
"""


def furnish(cluster: Cluster) -> None:
    _fill(cluster)
    coordinator = cluster.coordinator
    with superuser(coordinator) as connection:
        for name in (*WIRED, "half", "lost", "mine", "crowded", "hostile"):
            tell(connection, f"CREATE DATABASE {name} OWNER {USER}")
        tell(connection, "CREATE DATABASE in_sql_ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
        for name in ("mine", "crowded", "hostile"):
            _keep_something(coordinator, name)
        for name in WIRED:
            _wire(coordinator, name, cluster.data_nodes[0])
        _close_all(connection)
    with superuser(coordinator, "in_sql_ascii") as connection:
        _name_raw(connection)
    for node in cluster.data_nodes:
        with superuser(node) as connection:
            for name in ("shut", "half", "hostile"):
                tell(connection, f"CREATE DATABASE {name} OWNER {USER}")
            _wire(node, "shut", next(other for other in cluster.data_nodes if other is not node))
            _close_all(connection)
    for node in cluster.nodes:
        _make_hostile(node)


def _fill(cluster: Cluster) -> None:
    with log_in(cluster.coordinator, database="gaussdb") as user:
        user.execute("SELECT stillhouse.create_distributed_table('public.spread', 'id int, v text', 'id')")
        user.execute("INSERT INTO public.spread SELECT i, 'then' FROM generate_series(1, 1000) i")
        user.execute(
            "CREATE TABLE public.kept AS SELECT i, 'then'::text AS v FROM generate_series(1, 1000) i"
        )


def _keep_something(node: Node, database: str) -> None:
    with superuser(node, database) as connection:
        tell(connection, "CREATE TABLE public.own AS SELECT generate_series(1, 10) i")


def _wire(node: Node, database: str, to: Node) -> None:
    """A foreign server that names a data node of production, and a table through which it is written."""
    with superuser(node, database) as connection:
        tell(connection, "CREATE EXTENSION postgres_fdw SCHEMA public")
        tell(
            connection,
            "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw"
            f" OPTIONS (host '{to.host}', port '{to.port}', dbname 'gaussdb')",
        )
        tell(connection, f"CREATE USER MAPPING FOR {USER} SERVER far OPTIONS (user '{USER}', password 'old')")
        tell(connection, "CREATE FOREIGN TABLE public.far (id int) SERVER far")


def _close_all(connection: Connection) -> None:
    """Each in its own way, those that are there."""
    there = {name for (name,) in ask(connection, "SELECT datname FROM pg_database")}
    ways = {
        "modelled": "ALTER DATABASE modelled IS_TEMPLATE true",
        "shut": "ALTER DATABASE shut ALLOW_CONNECTIONS false",
        "half": "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'",
        "lost": "UPDATE pg_database SET datcollate = 'xx_XX', datctype = 'xx_XX' WHERE datname = 'lost'",
        "mine": "REVOKE CONNECT ON DATABASE mine FROM PUBLIC",
        "crowded": "ALTER DATABASE crowded CONNECTION LIMIT 0",
    }
    for way in (way for name, way in ways.items() if name in there):
        tell(connection, way)


def _name_raw(connection: Connection) -> None:
    raw = sql.Identifier(RAW)
    for made in ("CREATE DATABASE {}", "CREATE ROLE {}", "CREATE SCHEMA {}"):
        connection.execute(sql.SQL(made).format(raw))
    connection.execute(
        sql.SQL("CREATE TABLE {} AS SELECT generate_series(1, 10) i").format(sql.Identifier(RAW, RAW))
    )


def _make_hostile(node: Node) -> None:
    with superuser(node) as connection:
        is_since_17 = connection.info.server_version >= 170000
        known = {name for (name,) in ask(connection, "SELECT name FROM pg_settings")}
        impose(connection, "hostile")
        for whom in ("ROLE ALL", f"ROLE {SUPERUSER}", f"ROLE {SUPERUSER} IN DATABASE gaussdb"):
            for setting in ("statement_timeout = '1ms'", "zero_damaged_pages = on", "work_mem = '64kB'"):
                tell(connection, f"ALTER {whom} SET {setting}")
    for database in ("postgres", "gaussdb", "hostile"):
        with superuser(node, database) as connection:
            # Into one that forbids DDL no tables can be restored before 17.
            for made in (_GREET, _FORBID) if is_since_17 else () if database == "gaussdb" else (_FORBID,):
                tell(connection, made)
    with superuser(node) as connection:
        for name in known.intersection(ON_THE_SERVER):
            tell(connection, f"ALTER SYSTEM SET {name} = '{ON_THE_SERVER[name]}'")
        before = _loaded(node)
        tell(connection, "SELECT pg_reload_conf()")
    until(lambda: _loaded(node) != before, 20)


def _loaded(node: Node) -> object:
    with superuser(node) as connection:
        return ask(connection, "SELECT pg_conf_load_time()")
