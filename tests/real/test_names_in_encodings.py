"""Databases of other encodings: their names reach the server as the bytes that they are, wherever we write a statement.

One database has an encoding of its own, the other has none and names that are not valid in any.
"""

import os
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import TableReplaced
from stillhouse.postgres.sessions.reading import Named, check_name
from stillhouse.postgres.sessions.session import sql
from stillhouse.warehouse.cluster import fdw
from stillhouse.warehouse.cluster.embedded import Site
from support.servers.warehouses import MakeWarehouse, rows
from support.snapshots.captures import capture_cluster, open_vault, restored_cluster, take_one
from support.snapshots.cuts import superuser, tell

pytestmark = pytest.mark.long

NAMES = {"in_latin1": "caf\u00e9 %s \n'\"", "in_sql_ascii": "caf\udce9 %s \n'\""}


@pytest.fixture(scope="module")
def cluster(make_warehouse: MakeWarehouse) -> Cluster:
    made, _ = make_warehouse(2)
    with superuser(made.coordinator) as connection:
        for database in NAMES:
            encoding = database.removeprefix("in_").upper()
            tell(
                connection,
                f"CREATE DATABASE {database} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0",
            )
    for database, name in NAMES.items():
        _wire(made.coordinator, database, name, made.data_nodes[0])
    return made


def _wire(node: Node, database: str, name: str, to: Node) -> None:
    """A gated partition root and a gated foreign table, and the wrapper in a schema of that name."""
    with superuser(node, database) as connection:
        parts = {
            "schema": sql.Identifier(name),
            "table": sql.Identifier(name, name),
            "part": sql.Identifier(name, f"part of {name}"),
            "alone": sql.Identifier(name, f"alone {name}"),
            "host": sql.Literal(to.host),
            "port": sql.Literal(str(to.port)),
        }
        for made in (
            "CREATE SCHEMA {schema}",
            "CREATE EXTENSION postgres_fdw SCHEMA {schema}",
            "CREATE EXTENSION dblink SCHEMA {schema}",
            "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host {host}, port {port}, dbname 'gaussdb')",
            "CREATE TABLE {table} (id int) PARTITION BY HASH (id)",
            "CREATE FOREIGN TABLE {part} PARTITION OF {table} FOR VALUES WITH (MODULUS 1, REMAINDER 0) SERVER far",
            "CREATE FOREIGN TABLE {alone} (id int) SERVER far",
        ):
            connection.execute(sql.SQL(made).format(**parts))


def test_8_tables_are_gated_in_a_database_of_any_encoding(cluster: Cluster) -> None:
    assert take_one(cluster).tries == 1


@pytest.mark.parametrize("database", NAMES)
def test_8_extensions_are_closed_in_a_schema_of_any_name(cluster: Cluster, database: str) -> None:
    with superuser(cluster.coordinator, database) as connection:
        fdw.close_extensions(connection)
        open_now = connection.execute(fdw._OPEN_TO_PUBLIC, [[*fdw._EXTENSIONS]]).fetchall()
    assert open_now == []


@pytest.mark.parametrize("database", NAMES)
def test_8_a_table_of_any_name_is_found_replaced(cluster: Cluster, database: str) -> None:
    name = NAMES[database]
    with (
        superuser(cluster.coordinator, database) as connection,
        pytest.raises(TableReplaced, match="there is now another"),
    ):
        check_name(connection, Named(1, name, name, "r"))


def test_8_a_tablespace_lies_where_its_bytes_say(
    site: Site, make_warehouse: MakeWarehouse, tmp_path_factory: pytest.TempPathFactory
) -> None:
    single, _ = make_warehouse(1)
    node = single.coordinator
    vault = open_vault(tmp_path_factory.mktemp("vault"), single)
    place = Path(node.directory, "tablespaces", "caf\udce9 \n\\ %s")
    place.mkdir(parents=True)
    owner = Path(node.directory).stat()
    for directory in (place.parent, place):
        os.chown(directory, owner.st_uid, owner.st_gid)
    with superuser(node) as connection:
        tell(connection, "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with superuser(node, "bytes") as connection:
        connection.execute(sql.SQL("CREATE TABLESPACE far LOCATION {}").format(sql.Literal(str(place))))
        tell(connection, "CREATE TABLE public.there TABLESPACE far AS SELECT generate_series(1, 10) i")
    shot = capture_cluster(single, vault)
    with restored_cluster(site, single, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, "SELECT count(*) FROM public.there", "bytes") == [(10,)]
