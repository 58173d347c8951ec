"""Our reading of PostgreSQL's formats against PostgreSQL's own."""

import re
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from stillhouse.domain import relation_files
from stillhouse.domain.cluster import Node
from stillhouse.errors import CaptureFailed
from stillhouse.postgres.files import control_file, layout, pages
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from stillhouse.postgres.wal import lsn as lsns
from stillhouse.postgres.wal import segments
from support.data_directories.synthetic_wal import storage_created
from support.servers.warehouses import MakeWarehouse

SEGMENT = 16 << 20


@pytest.fixture(scope="module")
def node(make_warehouse: MakeWarehouse) -> Node:
    node = make_warehouse(1, "formats")[0].coordinator
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("CREATE TABLE public.t AS SELECT g, md5(g::text) FROM generate_series(1, 50000) g")
        connection.execute("CREATE INDEX ON public.t (g)")
        connection.execute("CREATE EXTENSION pageinspect SCHEMA public")
        connection.execute("CHECKPOINT")
    return node


def test_page_checksums_are_postgresqls(node: Node) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        page = connection.execute("SELECT public.get_raw_page('public.t', 3)").fetchall()[0][0]
        for block in (0, 3, 131072, 4_000_000_000):
            sql = "SELECT public.page_checksum(%s, %s::bigint)"
            (expected,) = connection.execute(sql, [page, block]).fetchall()[0]
            ours = pages.checksums(np.frombuffer(page, np.uint8).reshape(1, -1), np.array([block], np.uint32))
            assert int(ours[0]) == expected % 65536
    base = Path(node.directory, "pgdata", "base")
    files = [
        path for path in base.rglob("*") if relation_files.relation_file(f"base/{path.relative_to(base)}")
    ]
    checked = 0
    for file in files:
        batch = np.fromfile(file, np.uint8).reshape(-1, 8192)
        numbers = np.arange(len(batch), dtype=np.uint32)
        assert not len(pages.failing(batch, numbers, 1 << 62)), file
        checked += len(batch)
    assert checked > 1000


def test_what_is_judged_and_what_is_not(node: Node) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        (path,) = connection.execute("SELECT pg_relation_filepath('public.t')").fetchall()[0]
    page = bytearray(Path(node.directory, "pgdata", path).read_bytes()[8192:16384])
    number = np.array([1], np.uint32)

    def failing(image: bytes | bytearray, start_lsn: int) -> int:
        return len(pages.failing(np.frombuffer(bytes(image), np.uint8).reshape(1, -1), number, start_lsn))

    lsn = int(pages.lsns(np.frombuffer(bytes(page), np.uint8).reshape(1, -1))[0])
    assert not failing(page, lsn + 1)
    page[5000] ^= 1
    assert failing(page, lsn + 1), "older than the backup: its checksum counts"
    assert not failing(page, lsn), "as young as the backup: it may be torn, and replay mends it"
    assert not failing(bytes(8192), lsn + 1), "a page of zeros has no checksum"


def test_wal_findings_are_those_of_pg_waldump(node: Node, binaries: Binaries) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('formats', true)")
        start = lsns.parse_lsn(
            connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()[0][0]
        )
        for number in range(150):
            connection.execute(f"CREATE UNLOGGED TABLE public.u{number} (a int, b text)".encode())
        connection.execute("INSERT INTO public.t SELECT g, repeat('x', 90) FROM generate_series(1, 200000) g")
        connection.execute("CREATE DATABASE copied STRATEGY file_copy")
        connection.execute("CREATE DATABASE logged STRATEGY wal_log")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO public.t VALUES (1)")
        connection.execute("PREPARE TRANSACTION 'formats'")
        connection.execute("SELECT pg_switch_wal()")
        end = lsns.parse_lsn(connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()[0][0])
        end = end // SEGMENT * SEGMENT
        (identifier,) = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchall()[0]
    directory = Path(node.directory, "pgdata", "pg_wal")
    source = segments.WalSource(identifier, 1, SEGMENT)
    one_pass = segments.Pass(start, source)
    found: Counter[str] = Counter()
    for at in range(start // SEGMENT * SEGMENT, end, SEGMENT):
        image = np.fromfile(directory / lsns.segment_name(1, at, SEGMENT), np.uint8)
        segments.check_segment(image, at, at + SEGMENT, source)
        for _, finding in one_pass.feed(image):
            fork = "init" if isinstance(finding, segments.StorageCreated) and finding.fork == 3 else "other"
            found[f"{type(finding).__name__} {fork}"] += 1
    span = (f"--start={lsns.format_lsn(start)}", f"--end={lsns.format_lsn(end)}")
    said = binaries.run("pg_waldump", f"--path={directory}", *span, timeout=60).stdout
    storage = [line for line in said.splitlines() if re.search(r"rmgr: Storage.*desc: CREATE", line)]
    assert found["StorageCreated init"] == sum("_init" in line for line in storage) >= 150
    assert found["StorageCreated other"] == sum("_init" not in line for line in storage)
    assert found["FilesCopied other"] == said.count("CREATE_FILE_COPY") == 1
    assert found["Prepared other"] == said.count("desc: PREPARE ") == 1
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("ROLLBACK PREPARED 'formats'")
        connection.execute("SELECT pg_drop_replication_slot('formats')")


def test_user_data_made_to_look_like_a_record_is_not_one(node: Node) -> None:
    """A tenant could otherwise have another's table left out of the snapshot."""
    forged = storage_created(1663, 5, 424242, 3)
    content = b"".join(bytes(shift) + forged + bytes(-shift % 8) for shift in range(8)) * 10
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("CREATE TABLE public.forger (b bytea STORAGE PLAIN)")
        (start,) = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()[0]
        for _ in range(3):
            connection.execute("INSERT INTO public.forger VALUES (%s)", [content])
        (identifier, name) = connection.execute(
            "SELECT system_identifier, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()"
        ).fetchall()[0]
        connection.execute("CREATE UNLOGGED TABLE public.true_one (a int)")
        connection.execute("SELECT pg_switch_wal()")
    image = np.fromfile(Path(node.directory, "pgdata", "pg_wal", name), np.uint8)
    places = [match.start() for match in re.finditer(re.escape(forged), image.tobytes())]
    assert any(place % 8 == 0 for place in places), "one lies where a record might begin"
    one_pass = segments.Pass(lsns.parse_lsn(start), segments.WalSource(identifier, 1, SEGMENT))
    found = [finding for _, finding in one_pass.feed(image)]
    assert any(isinstance(finding, segments.StorageCreated) and finding.fork == 3 for finding in found)
    assert 424242 not in {
        finding.relation for finding in found if isinstance(finding, segments.StorageCreated)
    }


def test_a_segment_of_another_place_or_server_is_refused(node: Node) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        (identifier,) = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchall()[0]
        # A record of our own: at the very end of a segment the present place would name one long recycled.
        (name, lsn) = connection.execute(
            "SELECT pg_walfile_name(at), at::text FROM pg_logical_emit_message(true, 'test', 'here', true) AS at"
        ).fetchall()[0]
        at = lsns.parse_lsn(lsn) - 1
        connection.execute("SELECT pg_switch_wal()")
    start = at // SEGMENT * SEGMENT
    image = np.fromfile(Path(node.directory, "pgdata", "pg_wal", name), np.uint8)
    good = segments.WalSource(identifier, 1, SEGMENT)
    segments.check_segment(image, start, start + SEGMENT, good)
    for place, source in (
        (start + SEGMENT, good),
        (start, segments.WalSource(identifier + 1, 1, SEGMENT)),
        (start, segments.WalSource(identifier, 2, SEGMENT)),
    ):
        with pytest.raises(CaptureFailed):
            segments.check_segment(image, place, place + SEGMENT, source)
    with pytest.raises(CaptureFailed):
        segments.check_segment(image[: SEGMENT // 2], start, start + SEGMENT, good)


def test_a_torn_pg_control_is_read_again(node: Node) -> None:
    whole = Path(node.directory, "pgdata", layout.CONTROL).read_bytes()
    assert control_file.is_whole(whole)
    torn = bytearray(whole)
    torn[100] ^= 1
    answers = [bytes(torn), bytes(torn), whole]
    assert control_file.read_whole(lambda: answers.pop(0)) == whole
    with pytest.raises(CaptureFailed):
        control_file.read_whole(lambda: bytes(torn), tries=2)
