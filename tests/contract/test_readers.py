"""One contract for both readers of a node's files: the one that opens them here, and the one that asks the server."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Node
from stillhouse.errors import FileRefused
from stillhouse.postgres.files import layout
from stillhouse.postgres.readers.local import LocalReader
from stillhouse.postgres.readers.node_files import Entry, FileRuns, NodeFiles
from stillhouse.postgres.readers.remote import RemoteReader
from stillhouse.postgres.wal.backup import Facts, facts
from support.databases.writers import until
from support.servers.registered import as_somebodys
from support.servers.warehouses import MakeWarehouse, rows
from support.snapshots.cuts import superuser, tell

PAGE = 8192
MIB = 1 << 20
BAD_NAME = os.fsdecode(b"caf\xe9-\xff")


@pytest.fixture(scope="module")
def node(make_warehouse: MakeWarehouse) -> Node:
    """A server that leaves the files of its data directory alone."""
    node = make_warehouse(1)[0].coordinator
    with superuser(node) as connection:
        tell(connection, "ALTER SYSTEM SET autovacuum = off")
        tell(connection, "SELECT pg_reload_conf()")
        tell(connection, "CREATE UNLOGGED TABLE public.unlogged AS SELECT 1 AS i")
        tell(connection, "CREATE TABLE public.kept AS SELECT i FROM generate_series(1, 100000) i")
        tell(connection, "SET allow_in_place_tablespaces = on")
        tell(connection, "CREATE TABLESPACE in_place LOCATION ''")
        tell(connection, "CREATE TABLE public.placed TABLESPACE in_place AS SELECT 1 AS i")
    place = Path(node.directory, "elsewhere")
    place.mkdir()
    shutil.chown(place, *owner(node))
    with superuser(node) as connection:
        tell(connection, f"CREATE TABLESPACE elsewhere LOCATION '{place}'")
        tell(connection, "CREATE TABLE public.moved TABLESPACE elsewhere AS SELECT 1 AS i")
        tell(connection, "CHECKPOINT")
    return node


@pytest.fixture(scope="module")
def known(node: Node) -> Facts:
    with superuser(node) as connection:
        return facts(connection)


@pytest.fixture(scope="module")
def there(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return as_somebodys(node, tmp_path_factory.mktemp("passwords"))


@pytest.fixture
def data(node: Node) -> Path:
    return Path(node.directory, "pgdata")


@pytest.fixture(params=["local", "remote"])
def reader(request: pytest.FixtureRequest, data: Path, there: Node, known: Facts) -> Iterator[NodeFiles]:
    local = request.param == "local"
    made: NodeFiles = LocalReader(data, known.tablespace_directory) if local else RemoteReader(there, known)
    with closing(made):
        yield made


@pytest.fixture
def scratch(data: Path, node: Node) -> Iterator[Path]:
    """A directory of PostgreSQL's in which nothing else happens. The files of the account are put there by `give`."""
    place = data / "pg_logical" / "mappings"
    yield place
    shutil.rmtree(place)
    place.mkdir(mode=0o700)
    shutil.chown(place, *owner(node))


def owner(node: Node) -> tuple[int, int]:
    status = Path(node.directory).stat()
    return status.st_uid, status.st_gid


def give(path: Path, content: bytes) -> str:
    """Write a file of the account's and return its path in the data directory."""
    path.write_bytes(content)
    path.chmod(0o600)
    status = path.parent.stat()
    os.chown(path, status.st_uid, status.st_gid)
    return f"pg_logical/mappings/{path.name}"


def make_directory(path: Path) -> None:
    path.mkdir(mode=0o700)
    status = path.parent.stat()
    os.chown(path, status.st_uid, status.st_gid)


def listed(reader: NodeFiles) -> dict[str, Entry]:
    return {entry.path: entry for entry in reader.list()}


def read(reader: NodeFiles, *wanted: FileRuns) -> tuple[list[object], bytearray]:
    into = bytearray(sum(one.length for one in wanted))
    return list(reader.read(wanted, memoryview(into))), into


def whole(reader: NodeFiles, path: str, size: int, piece: int = MIB) -> list[bytes] | FileRefused | None:
    (content,) = [
        content if content is None or isinstance(content, FileRefused) else [*content]
        for content in reader.read_to_end([(path, size)], piece)
    ]
    return content


def test_both_list_the_same_in_the_same_order(data: Path, there: Node, known: Facts) -> None:
    local = LocalReader(data, known.tablespace_directory)
    with closing(RemoteReader(there, known)) as remote:
        ours = [without_details(entry) for entry in local.list()]
        theirs = [without_details(entry) for entry in remote.list()]
    assert ours == theirs
    assert len(ours) > 900
    assert not [entry for entry in ours if entry.path == layout.CONTROL or entry.path.startswith("pg_wal/")]


def without_details(entry: Entry) -> Entry:
    """Servers tell times in whole seconds, and no inodes."""
    return entry._replace(mtime_ns=entry.mtime_ns // 10**9, inode=0)


def test_only_the_init_fork_of_an_unlogged_relation_is_listed(reader: NodeFiles, node: Node) -> None:
    with superuser(node) as connection:
        ((path,),) = connection.execute("SELECT pg_relation_filepath('public.unlogged')").fetchall()
    found = listed(reader)
    assert f"{path}_init" in found and path not in found


def test_a_link_to_a_tablespace_has_its_target_and_one_in_place_has_none(
    reader: NodeFiles, node: Node
) -> None:
    with superuser(node) as connection:
        oids = dict(connection.execute("SELECT spcname, oid FROM pg_tablespace").fetchall())
        paths = dict(
            connection.execute(
                "SELECT relname, pg_relation_filepath(oid) FROM pg_class WHERE relname IN ('moved', 'placed')"
            ).fetchall()
        )
    found = listed(reader)
    assert found[f"pg_tblspc/{oids['elsewhere']}"].target == str(Path(node.directory, "elsewhere"))
    assert found[f"pg_tblspc/{oids['in_place']}"].target is None
    assert {*paths.values()} <= found.keys()


def test_names_of_any_bytes_are_listed_and_read(reader: NodeFiles, scratch: Path) -> None:
    make_directory(scratch / BAD_NAME)
    odd = [
        give(scratch / name, name.encode("utf-8", "surrogateescape"))
        for name in (f"{BAD_NAME}.1", "naïve", "a'b %s")
    ]
    deep = give(scratch / BAD_NAME / "é", b"deep").replace("mappings/é", f"mappings/{BAD_NAME}/é")
    found = listed(reader)
    assert {*odd, deep} <= found.keys()
    for path in odd:
        content = os.fsencode(path.rpartition("/")[2])
        assert whole(reader, path, found[path].size or 0) == [content]
        assert read(reader, FileRuns(path, [(1, 2)])) == ([2], bytearray(content[1:3]))
        assert reader.content(path) == content
    assert whole(reader, deep, 4) == [b"deep"]


def test_runs_of_several_files_come_each_to_its_place(reader: NodeFiles, scratch: Path) -> None:
    contents = [os.urandom(3 * MIB + 17), os.urandom(PAGE), os.urandom(2 * MIB)]
    paths = [give(scratch / f"runs-{number}", content) for number, content in enumerate(contents)]
    runs = [[(0, PAGE), (2 * PAGE, 2 * MIB)], [(0, PAGE)], [(PAGE, PAGE), (5 * PAGE, 3), (7, MIB)]]
    got, into = read(reader, *map(FileRuns, paths, runs))
    expected = [
        content[at : at + length] for content, some in zip(contents, runs, strict=True) for at, length in some
    ]
    assert got == [sum(length for _, length in some) for some in runs]
    assert into == b"".join(expected)


def test_runs_that_were_foreseen_are_read_as_they_are_then_or_later(reader: NodeFiles, scratch: Path) -> None:
    """As a packing process does: the next batch is foreseen before the present one is read."""
    contents = [os.urandom(4 * MIB), os.urandom(PAGE), os.urandom(4 * MIB)]
    paths = [give(scratch / f"ahead-{number}", content) for number, content in enumerate(contents)]
    gone = FileRuns(paths[1].replace("ahead", "gone"), [(0, PAGE)])
    batches = [
        [FileRuns(paths[0], [(0, 3 * MIB), (3 * MIB + PAGE, PAGE)])],
        [gone, FileRuns(paths[1], [(0, 2 * PAGE)]), FileRuns(paths[2], [(PAGE, 2 * MIB)])],
        [FileRuns(paths[2], [(0, 4 * MIB)])],
    ]
    reader.foresee(batches[0])
    found = []
    for number, batch in enumerate(batches):
        for following in batches[number + 1 : number + 2]:
            reader.foresee(following)
        found.append(read(reader, *batch))
    assert [got for got, _ in found] == [[3 * MIB + PAGE], [None, PAGE, 2 * MIB], [4 * MIB]]
    assert found[0][1] == contents[0][: 3 * MIB] + contents[0][3 * MIB + PAGE :][:PAGE]
    assert found[1][1][PAGE : 2 * PAGE] == contents[1]
    assert found[1][1][3 * PAGE :] == contents[2][PAGE : PAGE + 2 * MIB]
    assert found[2][1] == contents[2]


def test_a_directory_in_the_place_of_a_foreseen_file_is_refused_and_the_others_are_read(
    reader: NodeFiles, scratch: Path
) -> None:
    kept = give(scratch / "kept", b"k" * PAGE)
    make_directory(scratch / "place")
    wanted = [FileRuns(kept.replace("kept", name), [(0, PAGE)]) for name in ("kept", "place", "kept")]
    reader.foresee(wanted)
    (first, refused, last), into = read(reader, *wanted)
    assert (first, last) == (PAGE, PAGE) and isinstance(refused, FileRefused)
    assert into[:PAGE] == into[2 * PAGE :] == b"k" * PAGE


def test_nothing_is_left_of_runs_that_were_foreseen_and_never_read(
    there: Node, known: Facts, scratch: Path, node: Node
) -> None:
    """The server holds back what nobody takes, and the sessions end with the reader."""
    give(scratch / "large", os.urandom(4 * MIB))
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stillhouse files'"
    with closing(RemoteReader(there, known)) as reader:
        for number in range(3):
            reader.foresee([FileRuns("pg_logical/mappings/large", [(number * PAGE, 3 * MIB)])])
        assert rows(node, sessions) == [(3,)]
    until(lambda: rows(node, sessions) == [(0,)], 10)


def test_a_file_that_ends_in_a_run_tells_how_far_it_went_and_the_next_file_keeps_its_place(
    reader: NodeFiles, scratch: Path
) -> None:
    short = give(scratch / "short", b"x" * (2 * PAGE + 100))
    other = give(scratch / "other", b"y" * PAGE)
    runs = [(0, PAGE), (2 * PAGE, PAGE), (9 * PAGE, PAGE), (PAGE, PAGE)]
    got, into = read(reader, FileRuns(short, runs), FileRuns(other, [(0, PAGE)]))
    assert got == [PAGE + 100, PAGE]
    assert into[: PAGE + 100] == b"x" * (PAGE + 100)
    assert into[4 * PAGE :] == b"y" * PAGE


def test_a_file_that_is_gone_is_told_and_the_others_are_read(reader: NodeFiles, scratch: Path) -> None:
    kept = give(scratch / "kept", b"k" * PAGE)
    gone = [kept.replace("kept", name) for name in ("gone", "göne", "no/directory")]
    wanted = [FileRuns(path, [(0, PAGE)]) for path in (gone[0], kept, gone[1])]
    got, into = read(reader, *wanted)
    assert got == [None, PAGE, None] and into[PAGE : 2 * PAGE] == b"k" * PAGE
    assert [whole(reader, path, 5) for path in gone] == [None, None, None]
    with pytest.raises(FileNotFoundError):
        reader.content(gone[0])


def test_a_directory_in_the_place_of_a_file_is_refused_and_the_others_are_read(
    reader: NodeFiles, scratch: Path
) -> None:
    kept = give(scratch / "kept", b"k" * PAGE)
    other = f"pg_logical/mappings/{BAD_NAME}"
    for name in (BAD_NAME, "place"):
        make_directory(scratch / name)
    for path in (other, kept.replace("kept", "place")):
        (refused, got), into = read(reader, FileRuns(path, [(0, PAGE)]), FileRuns(kept, [(0, PAGE)]))
        assert isinstance(refused, FileRefused) and "directory" in refused.reason
        assert got == PAGE and into[PAGE:] == b"k" * PAGE
        assert isinstance(whole(reader, path, 5), FileRefused)
        with pytest.raises(FileRefused):
            reader.content(path)


@pytest.mark.parametrize("size", [1, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 1])
@pytest.mark.parametrize("grown", [0, 1, 3 * PAGE, 2 * MIB], ids=str)
def test_a_file_is_read_to_its_end_in_pieces_however_much_it_has_grown(
    reader: NodeFiles, scratch: Path, size: int, grown: int
) -> None:
    content = os.urandom(size + grown)
    path = give(scratch / "growing", content)
    pieces = whole(reader, path, size)
    assert isinstance(pieces, list)
    assert b"".join(pieces) == content
    assert [len(piece) for piece in pieces[:-1]] == [MIB] * (len(pieces) - 1)


def test_many_small_files_are_read_each_to_its_end(reader: NodeFiles, scratch: Path) -> None:
    contents = {
        give(scratch / f"small-{number}", os.urandom(number * 50)): number * 50 for number in range(300)
    }
    for (path, size), content in zip(
        contents.items(), reader.read_to_end([*contents.items()], MIB), strict=True
    ):
        assert content is not None and not isinstance(content, FileRefused)
        assert b"".join(content) == (scratch / path.rpartition("/")[2]).read_bytes()
        assert size == (scratch / path.rpartition("/")[2]).stat().st_size


def test_the_control_file_is_read_whole(reader: NodeFiles, data: Path) -> None:
    assert reader.content(layout.CONTROL) == (data / layout.CONTROL).read_bytes()


def test_a_file_too_large_to_be_read_at_once_is_refused(reader: NodeFiles, scratch: Path) -> None:
    path = give(scratch / "large", b"")
    os.truncate(scratch / "large", (16 << 20) + 1)
    with pytest.raises(FileRefused, match="larger than 16777216 bytes"):
        reader.content(path)
