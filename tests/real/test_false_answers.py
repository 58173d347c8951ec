"""A server whose superuser put functions of his own in the place of PostgreSQL's: the capture ends, and says so."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed
from stillhouse.postgres.readers.node_files import FileRuns
from stillhouse.postgres.readers.remote import RemoteReader
from stillhouse.postgres.wal.backup import facts
from support.servers.registered import as_somebodys
from support.servers.warehouses import MakeWarehouse
from support.snapshots.cuts import superuser, tell

PAGE = 8192


@pytest.fixture(scope="module")
def node(make_warehouse: MakeWarehouse) -> Node:
    return make_warehouse(1)[0].coordinator


@pytest.fixture(scope="module")
def there(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return as_somebodys(node, tmp_path_factory.mktemp("passwords"))


@pytest.fixture
def reader(node: Node, there: Node) -> Iterator[RemoteReader]:
    with superuser(node) as connection:
        known = facts(connection)
    with closing(RemoteReader(there, known)) as made:
        yield made


@contextmanager
def replaced(node: Node, name: str, types: str, answer: str) -> Iterator[None]:
    """Put a function in the place of PostgreSQL's, for as long as the block lasts."""
    with superuser(node) as connection:
        tell(connection, f"ALTER FUNCTION pg_catalog.{name}({types}) RENAME TO true_{name}")
        tell(connection, f"CREATE FUNCTION pg_catalog.{name}({types}) {answer}")
    try:
        yield
    finally:
        with superuser(node) as connection:
            tell(connection, f"DROP FUNCTION pg_catalog.{name}({types})")
            tell(connection, f"ALTER FUNCTION pg_catalog.true_{name}({types}) RENAME TO {name}")


@pytest.mark.parametrize("name", ["../outside", "..", ".", "a/b", ""])
def test_a_name_that_leads_out_of_its_directory_ends_the_capture(
    node: Node, reader: RemoteReader, name: str
) -> None:
    answer = f"RETURNS SETOF text LANGUAGE sql AS $$ VALUES ('base'), ('{name}') $$"
    with (
        replaced(node, "pg_ls_dir", "text, boolean, boolean", answer),
        pytest.raises(CaptureFailed, match="names a file") as raised,
    ):
        list(reader.list())
    assert "functions of PostgreSQL's were replaced" in raised.value.hint


def test_a_size_below_nothing_ends_the_capture(node: Node, reader: RemoteReader) -> None:
    columns = (
        "OUT size bigint, OUT access timestamptz, OUT modification timestamptz, OUT change timestamptz,"
        " OUT creation timestamptz, OUT isdir boolean"
    )
    types = f"text, boolean, {columns}"
    answer = "LANGUAGE sql AS $$ SELECT -1::bigint, now(), now(), now(), now(), false $$"
    with (
        replaced(node, "pg_stat_file", types, answer),
        pytest.raises(CaptureFailed, match="a size of -1 bytes"),
    ):
        list(reader.list())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            f"RETURNS bytea LANGUAGE sql AS $$ SELECT pg_catalog.decode(pg_catalog.repeat('ab', {2 * PAGE}), 'hex') $$",
            "more bytes",
        ),
        ("RETURNS SETOF bytea LANGUAGE sql AS $$ VALUES ('a'::bytea), ('b') $$", "more bytes"),
        ("RETURNS SETOF bytea LANGUAGE sql AS $$ SELECT 'a'::bytea WHERE false $$", "does not answer"),
    ],
    ids=["longer", "more", "fewer"],
)
def test_other_bytes_than_were_asked_for_end_the_capture_and_touch_no_other_file(
    node: Node, reader: RemoteReader, answer: str, said: str
) -> None:
    into = bytearray(2 * PAGE)
    wanted = [FileRuns("PG_VERSION", [(0, PAGE)]), FileRuns("postgresql.auto.conf", [(0, PAGE)])]
    with (
        replaced(node, "pg_read_binary_file", "text, bigint, bigint, boolean", answer),
        pytest.raises(CaptureFailed, match=said),
    ):
        reader.read(wanted, memoryview(into))


@pytest.mark.parametrize(
    "sizes",
    [
        "0, 131072, 16777216",
        "8192, 0, 16777216",
        "8192, 131072, 0",
        "8192, -1, 16777216",
        "8192, 2147483647, 1",
    ],
)
def test_sizes_that_no_server_has_end_the_capture(node: Node, sizes: str) -> None:
    columns = (
        "OUT max_data_alignment integer, OUT database_block_size integer, OUT blocks_per_segment integer,"
        " OUT wal_block_size integer, OUT bytes_per_wal_segment integer, OUT data_page_checksum_version integer"
    )
    block, segment, wal = sizes.split(", ")
    answer = f"LANGUAGE sql AS $$ SELECT 8, {block}, {segment}, 8192, {wal}, 1 $$"
    with (
        replaced(node, "pg_control_init", columns, answer),
        superuser(node) as connection,
        pytest.raises(CaptureFailed, match="the server tells of pages of"),
    ):
        facts(connection)
