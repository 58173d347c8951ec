"""Secrets at rest: sealed to their row, under a key that is created once and readable by its owner only."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

import stillhouse.catalog.access.access_keys as secrets
from stillhouse.catalog.schema.database import Database
from stillhouse.errors import InternalError
from stillhouse.sealing import KEY_FILE, Sealer

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_sealed_secret_opens_again_after_a_restart(tmp_path: Path) -> None:
    sealed = Sealer.in_directory(tmp_path).seal("Str0ng-Pass-雪", "row/1")
    assert "Str0ng" not in sealed
    assert Sealer.in_directory(tmp_path).unseal(sealed, "row/1") == "Str0ng-Pass-雪"


def test_the_same_secret_is_sealed_differently_each_time(tmp_path: Path) -> None:
    sealer = Sealer.in_directory(tmp_path)
    assert sealer.seal("x", "row") != sealer.seal("x", "row")


def test_a_sealed_secret_moved_to_another_row_or_altered_is_refused(tmp_path: Path) -> None:
    sealer = Sealer.in_directory(tmp_path)
    sealed = sealer.seal("secret", "row/1")
    altered = sealed[:-6] + ("AAAAAA" if sealed[-6:] != "AAAAAA" else "BBBBBB")
    for value, row in ((sealed, "row/2"), (altered, "row/1")):
        with pytest.raises(InternalError, match="altered or sealed with another key"):
            sealer.unseal(value, row)


def test_the_key_file_is_private_and_left_alone_once_made(tmp_path: Path) -> None:
    Sealer.in_directory(tmp_path)
    path = tmp_path / KEY_FILE
    first = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Sealer.in_directory(tmp_path)
    assert path.read_bytes() == first
    assert [entry.name for entry in tmp_path.iterdir()] == [KEY_FILE]


def test_of_many_that_create_the_key_at_once_one_wins(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        sealers = list(pool.map(lambda _: Sealer.in_directory(tmp_path), range(8)))
    sealed = sealers[0].seal("x", "row")
    assert {sealer.unseal(sealed, "row") for sealer in sealers} == {"x"}


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    Sealer.in_directory(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    with pytest.raises(InternalError, match="chmod 600"):
        Sealer.in_directory(tmp_path)


def test_a_truncated_key_file_is_refused(tmp_path: Path) -> None:
    Sealer.in_directory(tmp_path)
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(InternalError, match="not a key"):
        Sealer.in_directory(tmp_path)


def test_a_kept_secret_is_read_until_erased_and_never_in_the_clear(tmp_path: Path) -> None:
    database, sealer = Database.in_directory(tmp_path), Sealer.in_directory(tmp_path)
    database.migrate()
    with database.transaction() as transaction:
        secrets.keep_secret(transaction, sealer, "user_pwd/1", "Str0ng-Pass-11", NOW)
    with database.transaction() as transaction:
        assert secrets.read_secret(transaction, sealer, "user_pwd/1") == "Str0ng-Pass-11"
        assert secrets.read_secret(transaction, sealer, "user_pwd/2") is None
    assert all(b"Str0ng-Pass-11" not in path.read_bytes() for path in tmp_path.iterdir())
    with database.transaction() as transaction:
        secrets.erase_secret(transaction, "user_pwd/1")
        assert secrets.read_secret(transaction, sealer, "user_pwd/1") is None


def test_an_access_key_is_found_until_disabled_and_does_not_print_its_secret(tmp_path: Path) -> None:
    database, sealer = Database.in_directory(tmp_path), Sealer.in_directory(tmp_path)
    database.migrate()
    key = secrets.AccessKey("A" * 20, "s3cret" * 6 + "abcd", "0" * 32)
    assert "s3cret" not in repr(key)
    with database.transaction() as transaction:
        secrets.insert_access_key(transaction, sealer, key, NOW)
        assert secrets.find_access_key(transaction, sealer, "A" * 20, NOW) == key
        assert secrets.find_access_key(transaction, sealer, "B" * 20, NOW) is None
        assert not secrets.disable_access_key(transaction, "1" * 32, "A" * 20, NOW)
        assert secrets.disable_access_key(transaction, "0" * 32, "A" * 20, NOW)
        assert not secrets.disable_access_key(transaction, "0" * 32, "A" * 20, NOW)
        assert secrets.find_access_key(transaction, sealer, "A" * 20, NOW) is None
