"""Whom servers run as, and whether he can reach the data directory."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.errors import InvalidInput
from stillhouse.postgres.host import account
from stillhouse.postgres.host.account import Account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")


@pytest.fixture
def nobody() -> Account:
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


@pytest.fixture
def open_place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="sh-", dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@as_root
def test_root_becomes_an_account_that_has_a_passwd_entry() -> None:
    found = account.database_account("nobody")
    assert found is not None
    assert (found.name, found.uid) == ("nobody", pwd.getpwnam("nobody").pw_uid)


@as_root
def test_root_is_refused_as_the_servers_account() -> None:
    with pytest.raises(InvalidInput, match="root"):
        account.database_account("root")


@as_root
def test_an_account_that_cannot_be_made_is_a_clear_error() -> None:
    with pytest.raises(InvalidInput, match="cannot create the account -impossible name-"):
        account.database_account("-impossible name-")


@pytest.mark.skipif(os.geteuid() == 0, reason="root becomes another account")
def test_whoever_is_not_root_runs_servers_himself() -> None:
    assert account.database_account("stillhouse") is None


@as_root
def test_a_program_runs_with_the_accounts_rights_alone(nobody: Account) -> None:
    ours = os.getgroups()
    os.setgroups([0])
    try:
        shown = account.run(nobody, ["id"], timeout=10).stdout
    finally:
        os.setgroups(ours)
    assert f"uid={nobody.uid}(nobody)" in shown
    assert "(root)" not in shown


@as_root
def test_the_directory_that_is_closed_on_the_way_is_named(nobody: Account, open_place: Path) -> None:
    closed = open_place / "closed"
    data = closed / "deeper" / "data"
    data.mkdir(parents=True)
    account.check_traversable(data, nobody)
    closed.chmod(0o700)
    with pytest.raises(InvalidInput) as refused:
        account.check_traversable(data, nobody)
    assert f"may not pass through {closed} to reach {data}" in refused.value.message
    assert f"chmod o+x {closed}" in refused.value.hint


def test_nothing_of_our_environment_reaches_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=1GB")
    assert "PGOPTIONS" not in account.run(None, ["env"], timeout=10).stdout
