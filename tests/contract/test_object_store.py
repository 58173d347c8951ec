"""What every object store must do, shown on each of them: a directory, memory and a real S3 server."""

import random
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Lock
from time import sleep

import pytest

from stillhouse.errors import InvalidInput, ObjectMissing, RepositoryDamaged
from stillhouse.storage.open import open_store
from stillhouse.storage.probe import probe
from stillhouse.storage.s3 import S3Access
from stillhouse.storage.store import Chunk, ObjectStore, StoredObject
from support.stores.s3_server import s3_server
from support.stores.versitygw import versitygw

MIB = 2**20


@pytest.fixture(
    params=[
        "local",
        "memory",
        pytest.param("s3", marks=pytest.mark.xdist_group("s3")),
        pytest.param("versitygw", marks=[pytest.mark.xdist_group("s3"), pytest.mark.long]),
    ],
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    match request.param:
        case "local":
            yield open_store(tmp_path / "store")
        case "memory":
            yield open_store("memory://")
        case _:
            server = s3_server() if request.param == "s3" else versitygw()
            bucket = f"contract-{secrets.token_hex(6)}"
            server.make_bucket(bucket)
            access = S3Access(server.endpoint, server.region, server.access_key, server.secret_key)
            yield open_store(f"s3://{bucket}/some/prefix", s3=access)


def keys(store: ObjectStore, prefix: str) -> set[str]:
    return {found.key for found in store.list(prefix)}


def test_what_is_put_is_read_back_and_put_again_replaces_it(store: ObjectStore) -> None:
    store.put("c/one/packs/p1", [b"first"])
    assert store.get("c/one/packs/p1") == b"first"
    store.put("c/one/packs/p1", [b"the ", bytearray(b"second"), memoryview(b"xx time")[2:]])
    assert store.get("c/one/packs/p1") == b"the second time"
    assert store.size("c/one/packs/p1") == 15


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b"a", b""]])
def test_empty_chunks_and_empty_objects_are_allowed(store: ObjectStore, chunks: list[bytes]) -> None:
    store.put("put", chunks)
    assert store.create("created", chunks)
    assert store.get("put") == store.get("created") == b"".join(chunks)
    assert store.size("put") == len(b"".join(chunks))


def test_a_large_object_of_many_chunks_arrives_whole_and_in_order(store: ObjectStore) -> None:
    chunks = [
        secrets.token_bytes(7919) for _ in range(2600)
    ]  # 20 MB: more than one part, more than one writev
    store.put("large", chunks)
    whole = b"".join(chunks)
    assert store.get("large") == whole
    assert store.create("large-created", chunks)
    assert store.get("large-created") == whole
    assert store.get_range("large", 9 * MIB - 3, 2 * MIB) == whole[9 * MIB - 3 : 11 * MIB - 3]


def test_a_memoryview_of_wider_items_is_written_as_its_bytes(store: ObjectStore) -> None:
    numbers = memoryview(b"\x01\x02\x03\x04\x05\x06\x07\x08").cast("I")
    store.put("numbers", [numbers])
    assert store.get("numbers") == bytes(numbers)
    assert store.create("numbers", [numbers])


def test_create_keeps_the_first_object(store: ObjectStore) -> None:
    assert store.create("c/one/roots/s", [b"ours"])
    assert not store.create("c/one/roots/s", [b"other"])
    assert not store.create("c/one/roots/s", [b"ours", b" and more"])
    assert store.get("c/one/roots/s") == b"ours"


def test_create_says_yes_to_a_retry_of_what_is_stored(store: ObjectStore) -> None:
    assert store.create("root", [b"same ", b"bytes"])
    assert store.create("root", [b"same bytes"])


def test_create_loses_to_a_put(store: ObjectStore) -> None:
    store.put("root", [b"put"])
    assert not store.create("root", [b"created"])


def test_one_of_sixteen_creators_wins_and_its_bytes_stay(store: ObjectStore) -> None:
    start = Barrier(16)

    def create(content: bytes) -> bool:
        start.wait()
        return store.create("root", [content])

    contents = [f"writer {number}".encode() for number in range(16)]
    with ThreadPoolExecutor(16) as creators:
        answers = list(creators.map(create, contents))
    assert answers.count(True) == 1
    assert store.get("root") == contents[answers.index(True)]


def test_a_missing_object_is_an_error_to_read_and_none_to_measure(store: ObjectStore) -> None:
    store.put("folder/there", [b"x"])
    for key in ("missing", "folder", "folder/there/below", "no/such/folder"):
        assert store.size(key) is None
        with pytest.raises(ObjectMissing):
            store.get(key)
        with pytest.raises(ObjectMissing):
            store.get_range(key, 0, 1)


def test_a_range_is_exact(store: ObjectStore) -> None:
    store.put("ten", [b"0123456789"])
    assert store.get_range("ten", 0, 10) == b"0123456789"
    assert store.get_range("ten", 9, 1) == b"9"
    assert store.get_range("ten", 3, 4) == b"3456"


@pytest.mark.parametrize(("start", "length"), [(0, 11), (9, 2), (10, 1), (1000, 5)])
def test_a_range_past_the_end_is_damage(store: ObjectStore, start: int, length: int) -> None:
    store.put("ten", [b"0123456789"])
    with pytest.raises(RepositoryDamaged):
        store.get_range("ten", start, length)


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 0), (3, -1)])
def test_a_range_that_is_none_is_refused(store: ObjectStore, start: int, length: int) -> None:
    store.put("ten", [b"0123456789"])
    with pytest.raises(InvalidInput):
        store.get_range("ten", start, length)


def test_list_yields_what_is_below_the_folder_and_nothing_else(store: ObjectStore) -> None:
    for key in ("c/one/a", "c/one/b/c", "c/one-more/x", "c/on", "d"):
        store.put(key, [key.encode()])
    assert keys(store, "c/one") == keys(store, "c/one/") == {"c/one/a", "c/one/b/c"}
    assert keys(store, "") == {"c/one/a", "c/one/b/c", "c/one-more/x", "c/on", "d"}
    assert keys(store, "c/one/a") == keys(store, "d") == keys(store, "nothing/here") == set()


def test_list_tells_size_and_time(store: ObjectStore) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 tells whole seconds
    store.put("folder/object", [b"12345"])
    (found,) = store.list("folder")
    assert (found.key, found.size) == ("folder/object", 5)
    assert found.modified.utcoffset() == timedelta(0)
    assert before <= found.modified <= datetime.now(UTC) + timedelta(seconds=1)


def test_list_goes_on_past_a_page(store: ObjectStore) -> None:
    names = {f"many/{number:04}" for number in range(120)}
    for name in names:
        store.put(name, [b"x"])
    assert keys(store, "many") == names


def test_delete_removes_and_may_be_repeated(store: ObjectStore) -> None:
    store.put("folder/object", [b"x"])
    store.put("folder/other", [b"y"])
    store.delete("folder/object")
    store.delete("folder/object")
    store.delete("never/was")
    assert store.size("folder/object") is None
    assert keys(store, "") == {"folder/other"}
    assert store.create("folder/object", [b"z"])


BAD_KEYS = [
    "",
    "/",
    "/absolute",
    "a//b",
    "a/",
    "..",
    "a/../b",
    "./a",
    ".tmp/x",
    "a/.hidden",
    "Upper",
    "space here",
    "ü",
    "a\n",
    "a\0b",
    "a\\b",
    "a%2e",
    "a" * 201,
    "/".join(["a"] * 257),
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_some_store_could_not_hold_is_refused_by_all(store: ObjectStore, key: str) -> None:
    for refused in (
        lambda: store.put(key, [b"x"]),
        lambda: store.create(key, [b"x"]),
        lambda: store.get(key),
        lambda: store.get_range(key, 0, 1),
        lambda: store.size(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(InvalidInput):
            refused()
    assert keys(store, "") == set()


@pytest.mark.parametrize("prefix", ["/", "..", "a//", ".tmp", "a/../b", "A"])
def test_a_folder_outside_the_keys_is_not_listed(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidInput):
        list(store.list(prefix))


@pytest.mark.parametrize(
    "store",
    [
        "local",
        "memory",
        # The server for tests takes one request at a time, so that hundreds of them last.
        pytest.param("s3", marks=[pytest.mark.xdist_group("s3"), pytest.mark.long]),
        pytest.param("versitygw", marks=[pytest.mark.xdist_group("s3"), pytest.mark.long]),
    ],
    indirect=True,
)
def test_the_probe_passes_and_leaves_nothing(store: ObjectStore) -> None:
    store.put("kept", [b"x"])
    probe(store)
    assert keys(store, "") == {"kept"}


class Faithless:
    """A store that does all it is asked but for what a subclass breaks."""

    def __init__(self) -> None:
        self._real = open_store("memory://")

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        self._real.put(key, chunks)

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        return self._real.create(key, chunks)

    def get(self, key: str) -> bytes:
        return self._real.get(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._real.get_range(key, start, length)

    def size(self, key: str) -> int | None:
        return self._real.size(key)

    def stat(self, key: str) -> StoredObject | None:
        return self._real.stat(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self._real.list(prefix)

    def delete(self, key: str) -> None:
        self._real.delete(key)


class EveryWriterWins(Faithless):
    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        self._real.put(key, chunks)
        return True


class EveryWriterIsToldItWon(Faithless):
    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        self._real.create(key, chunks)
        return True


class NobodyWins(Faithless):
    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        self._real.create(key, chunks)
        return False


class TheLoserIsStored(Faithless):
    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        won = self._real.create(key, chunks)
        self._real.put(key, chunks)
        return won


class IgnoresTheConditionAtSomeKeys(Faithless):
    """As a gateway of several that does not know conditions, or a race that is lost now and then."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._draws, self._lock = random.Random(seed), Lock()
        self._ignored: dict[str, bool] = {}

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        with self._lock:
            if key not in self._ignored:
                self._ignored[key] = self._draws.random() < 1 / 14
        if not self._ignored[key]:
            return super().create(key, chunks)
        self.put(key, chunks)
        return True


class ChecksAndThenWrites(Faithless):
    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        if self.size(key) is not None:
            return False
        sleep(0.02)  # the body comes in; without it, this store is honest by luck on a busy machine
        self.put(key, chunks)
        return True


class ReadsAreStale(Faithless):
    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        """Not seen by any reader yet."""


class RangesStartAtZero(Faithless):
    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self._real.get(key)[:length]


@pytest.mark.parametrize(
    "kind",
    [
        EveryWriterWins,
        EveryWriterIsToldItWon,
        NobodyWins,
        TheLoserIsStored,
        ChecksAndThenWrites,
        ReadsAreStale,
        RangesStartAtZero,
    ],
)
def test_the_probe_refuses_a_store_that_lies_and_leaves_nothing(kind: type[Faithless]) -> None:
    store = kind()
    with pytest.raises(InvalidInput, match="cannot hold snapshots"):
        probe(store)
    assert list(store.list("")) == []


def test_the_probe_refuses_a_store_that_ignores_the_condition_now_and_then() -> None:
    """Five rounds of one key each, as they were once, take two of three of these."""
    for seed in range(25):
        store = IgnoresTheConditionAtSomeKeys(seed)
        with pytest.raises(InvalidInput, match="conditional create"):
            probe(store)
        assert list(store.list("")) == []


@pytest.mark.parametrize(
    "location",
    [
        "",
        "ftp://host/dir",
        "s3://",
        "s3:///prefix",
        "s3://bucket/UP",
        "s3://b/a?x=1",
        "memory://x",
        "file:///x",
    ],
)
def test_a_location_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(InvalidInput):
        open_store(location)
