"""The KEK and the cluster keys it wraps."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.errors import InvalidInput, RepositoryDamaged, StoreUnavailable
from stillhouse.repository.format import layout
from stillhouse.repository.format.cipher_keys import Kek, create_or_open, load_or_create_kek, open_keys
from stillhouse.repository.objects import identity
from stillhouse.storage.object_stores import memory_store

KEK = Kek(bytes(range(32)))


def test_the_kek_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    first, made = load_or_create_kek(path)
    assert made
    assert path.stat().st_mode & 0o777 == 0o600
    again, made = load_or_create_kek(path)
    assert (again, made) == (first, False)
    assert first.secret.hex() not in repr(first)


@pytest.mark.parametrize("text", ["", "zz" * 32, "00" * 31, "00" * 33])
def test_a_file_that_is_no_kek_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kek"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        load_or_create_kek(path)
    assert path.read_text() == text


def test_a_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(InvalidInput):
        load_or_create_kek(path)


def test_processes_that_race_get_one_kek_and_never_half_of_it(tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def load(_: int) -> tuple[Kek, bool]:
        start.wait()
        return load_or_create_kek(tmp_path / "kek")

    for _ in range(10):
        with ThreadPoolExecutor(8) as pool:
            loaded = list(pool.map(load, range(8)))
        assert len({kek for kek, _ in loaded}) == 1
        assert [made for _, made in loaded].count(True) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["kek"], "nothing is left beside it"
        (tmp_path / "kek").unlink()


def test_the_kek_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, link = os.fsync, os.link

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "key")

    def recorded_link(*arguments: Any, **options: Any) -> None:
        link(*arguments, **options)
        done.append("name")

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "link", recorded_link)
    load_or_create_kek(tmp_path / "kek")
    assert done == ["key", "name", "directory"]


@pytest.mark.parametrize("stored", [b"", b"[" * 4000, b"[]", b"null", b"\xff", b" " * 5000, b'{"Later": 1}'])
def test_keys_that_are_no_keys_are_refused_by_name(stored: bytes) -> None:
    store, cluster = memory_store(), new_uuid()
    key = layout.keys(cluster, 1, KEK.id)
    store.put(key, [stored])
    with pytest.raises(RepositoryDamaged, match=key):
        open_keys(store, KEK, cluster)


def test_what_is_not_a_generation_is_left_alone() -> None:
    store, cluster = memory_store(), new_uuid()
    create_or_open(store, KEK, cluster)
    store.put(f"{layout.keys_of(cluster)}later/{KEK.id}", [b"?"])
    assert open_keys(store, KEK, cluster).newest == 1


def test_first_users_that_race_share_one_generation() -> None:
    store, cluster = memory_store(), new_uuid()
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: create_or_open(store, KEK, cluster), range(8)))
    assert len({keys.generations[1] for keys in opened}) == 1
    assert len(list(store.list(layout.keys_of(cluster)))) == 1


def test_another_kek_is_refused_by_name() -> None:
    store, cluster = memory_store(), new_uuid()
    create_or_open(store, KEK, cluster)
    with pytest.raises(InvalidInput, match="another KEK"):
        open_keys(store, Kek(b"x" * 32), cluster)
    with pytest.raises(InvalidInput, match="another KEK"):
        create_or_open(store, Kek(b"x" * 32), cluster)


def test_altered_or_moved_keys_do_not_open() -> None:
    store, cluster, other = memory_store(), new_uuid(), new_uuid()
    create_or_open(store, KEK, cluster)
    key = layout.keys(cluster, 1, KEK.id)
    store.put(layout.keys(other, 1, KEK.id), [store.get(key)])
    with pytest.raises(RepositoryDamaged):
        open_keys(store, KEK, other)
    store.put(key, [b"{}"])
    with pytest.raises(RepositoryDamaged):
        open_keys(store, KEK, cluster)


def test_a_flipped_bit_that_base64_does_not_use_is_found() -> None:
    """The last character of the wrapped keys bears two bits that decoders skip."""
    store, kek, cluster = memory_store(), Kek(bytes(32)), new_uuid()
    create_or_open(store, kek, cluster)
    key = layout.keys(cluster, 1, kek.id)
    stored = bytearray(store.get(key))
    at = stored.rindex(b'="') - 1
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    stored[at] = letters[letters.index(stored[at]) ^ 1]
    store.put(key, [stored])
    with pytest.raises(RepositoryDamaged, match="does not open"):
        open_keys(store, kek, cluster)


def test_a_shredded_cluster_says_so() -> None:
    with pytest.raises(RepositoryDamaged, match="shredded"):
        open_keys(memory_store(), KEK, new_uuid())


def test_a_repository_is_claimed_once() -> None:
    store = memory_store()
    first = identity.claim(store)
    assert identity.claim(store) == first
    identity.check(store, first)
    for wrong in (memory_store(), store):
        with pytest.raises(StoreUnavailable, match="is not there"):
            identity.check(wrong, "0" * 32)
