"""Keys, policies and users behind the commands: on both databases, accepted whole or refused with a record."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from stillhouse.catalog.access import audit_log, passwords
from stillhouse.catalog.access.access_keys import TemporaryKey
from stillhouse.catalog.access.audit_log import AuditRecord
from stillhouse.cli.main import app
from stillhouse.control import audit
from stillhouse.control.access import access_keys, callers, credentials, logins, permissions, users
from stillhouse.control.context import Control
from stillhouse.domain.access import policy_document
from stillhouse.domain.access.permissions import BUILT_IN, FULL_ACCESS, READ_ONLY_ACCESS
from stillhouse.domain.api_operations.all_operations import OPERATIONS
from stillhouse.errors import Conflict, InvalidInput, NameTaken, NotFound
from support.control.requests_bed import OTHER_PROJECT, PROJECT, requests_bed

READER = json.dumps({"Version": "1.1", "Statement": [{"Effect": "Allow", "Action": "dws:*:list*"}]})
LIST, CREATE = OPERATIONS["ListSnapshots"].need.names, OPERATIONS["CreateSnapshot"].need.names


@pytest.fixture(params=["sqlite", "postgresql"])
def control(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Control]:
    monkeypatch.setattr(passwords, "_N", 2**10)
    with requests_bed(request.param, tmp_path) as bed:
        yield bed


def last_outcome(control: Control) -> str:
    return audit.list_records(control, limit=1)[0].outcome


def may(control: Control, access_key: str, names: tuple[str, ...]) -> bool:
    signer = callers.find_signer(control, access_key)
    assert signer is not None
    return signer.caller.permissions.allow(names, None)


def test_a_key_has_full_access_or_what_it_was_given(control: Control) -> None:
    permissions.create_policy(control, "lister", READER)
    full = access_keys.create_access_key(control, PROJECT)
    named = access_keys.create_access_key(control, PROJECT, ["lister"])
    own = access_keys.create_access_key(control, PROJECT, [json.loads(READER)])
    nothing = access_keys.create_access_key(control, PROJECT, [])
    asked = [
        (may(control, key.access_key, LIST), may(control, key.access_key, CREATE)) for key in (full, named)
    ]
    assert asked == [(True, True), (True, False)]
    assert may(control, own.access_key, LIST) and not may(control, own.access_key, CREATE)
    assert not may(control, nothing.access_key, LIST)


def test_a_key_is_not_made_with_a_policy_that_is_unknown_or_not_understood(control: Control) -> None:
    for wrong in ("DWS fullaccess", {"Version": "1.1"}):
        with pytest.raises(InvalidInput):
            access_keys.create_access_key(control, PROJECT, [wrong])
        assert last_outcome(control) == "input.invalid"
    assert access_keys.list_access_keys(control) == []


def test_a_policy_is_kept_under_a_name_until_nobody_has_it(control: Control) -> None:
    kept = permissions.create_policy(control, "lister", READER)
    assert permissions.list_policies(control) == [kept] == [permissions.show_policy(control, "lister")]
    key = access_keys.create_access_key(control, PROJECT, ["lister"])
    users.create_user(control, PROJECT, "op1", policies=["lister"])
    with pytest.raises(Conflict, match=key.access_key):
        permissions.delete_policy(control, "lister")
    access_keys.disable_access_key(control, PROJECT, key.access_key)
    with pytest.raises(Conflict, match="op1"):
        permissions.delete_policy(control, "lister")
    users.disable_user(control, PROJECT, "op1")
    permissions.delete_policy(control, "lister")
    for act in (permissions.show_policy, permissions.delete_policy):
        with pytest.raises(NotFound):
            act(control, "lister")


def test_a_policy_s_name_is_well_formed_free_and_not_that_of_a_built_in_one(control: Control) -> None:
    permissions.create_policy(control, "lister", READER)
    for name, error in (
        ("lister", NameTaken),
        ("", InvalidInput),
        ("a/b", InvalidInput),
        (FULL_ACCESS, InvalidInput),
    ):
        with pytest.raises(error):
            permissions.create_policy(control, name, READER)
        assert last_outcome(control) == error.code


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_policy_can_be_written_down_and_read_again(name: str) -> None:
    assert policy_document.read(policy_document.write(BUILT_IN[name])) == BUILT_IN[name]


def test_a_narrow_policy_can_be_written_down_and_read_again() -> None:
    document = {
        "Version": "1.1",
        "Statement": [{"Effect": "Deny", "Action": ["dws:*:*"], "Resource": ["dws:*:*:cluster:6f1d*"]}],
    }
    assert policy_document.write(policy_document.read(document)) == document


def test_a_rotated_key_ends_when_it_was_said_and_cannot_be_rotated_again(control: Control) -> None:
    key = access_keys.create_access_key(control, PROJECT, [READ_ONLY_ACCESS])
    new, old = access_keys.rotate_access_key(control, PROJECT, key.access_key, timedelta(hours=1))
    assert (old.access_key, new.policies) == (key.access_key, (READ_ONLY_ACCESS,))
    assert new.secret_key != old.secret_key == key.secret_key
    with pytest.raises(Conflict):
        access_keys.rotate_access_key(control, PROJECT, key.access_key, timedelta(days=9))
    assert callers.find_signer(control, key.access_key) is not None
    control.clock.sleep(3600)
    assert callers.find_signer(control, key.access_key) is None
    assert callers.find_signer(control, new.access_key) is not None


def test_only_a_key_in_use_of_the_project_is_rotated_and_not_into_the_past(control: Control) -> None:
    key = access_keys.create_access_key(control, PROJECT)
    for project, name in ((OTHER_PROJECT, key.access_key), (PROJECT, "B" * 20), (PROJECT, "\0")):
        with pytest.raises(NotFound):
            access_keys.rotate_access_key(control, project, name, timedelta(0))
    with pytest.raises(InvalidInput):
        access_keys.rotate_access_key(control, PROJECT, key.access_key, timedelta(seconds=-1))
    assert [each.expires for each in access_keys.list_access_keys(control)] == [None]


def test_keys_are_listed_without_their_secrets_those_out_of_use_too(control: Control) -> None:
    first = access_keys.create_access_key(control, PROJECT)
    access_keys.create_access_key(control, OTHER_PROJECT)
    access_keys.disable_access_key(control, PROJECT, first.access_key)
    assert len(access_keys.list_access_keys(control)) == 2
    (listed,) = access_keys.list_access_keys(control, PROJECT)
    assert (listed.access_key, listed.disabled is not None) == (first.access_key, True)
    assert first.secret_key not in repr(listed) + repr(first)


def test_a_user_has_a_name_of_its_own_while_in_use_and_a_password_that_is_not_short(control: Control) -> None:
    password = users.create_user(control, PROJECT, "op1")
    assert logins.log_in(control, password, project=PROJECT, name="op1").name == "op1"
    users.create_user(control, OTHER_PROJECT, "op1")
    with pytest.raises(NameTaken):
        users.create_user(control, PROJECT, "op1")
    for name, wrong in (
        ("", "long-enough-word"),
        ("a b", "long-enough-word"),
        ("op2", "short"),
        ("op2", "\0" * 12),
    ):
        with pytest.raises(InvalidInput):
            users.create_user(control, PROJECT, name, wrong)
    users.disable_user(control, PROJECT, "op1")
    with pytest.raises(NotFound):
        users.disable_user(control, PROJECT, "op1")
    users.create_user(control, PROJECT, "op1")
    assert [user.disabled is None for user in users.list_users(control, PROJECT)] == [False, True]
    assert password not in repr(users.list_users(control))


def test_temporary_keys_and_tokens_past_their_end_are_cleared_away(control: Control) -> None:
    key = access_keys.create_access_key(control, PROJECT)
    signer = callers.find_signer(control, key.access_key)
    assert signer is not None
    acting = control.acting_for(signer.caller)
    users.create_user(control, PROJECT, "op1")
    (user,) = users.list_users(control)
    made: list[TemporaryKey] = []
    for _ in range(3):
        made.append(credentials.make_temporary_key(acting, timedelta(hours=1)).key)
        credentials.make_token(control, user)
        control.clock.sleep(3 * 86_400)
    with control.database.reading() as reading:
        for table in ("sh_temporary_keys", "sh_tokens"):
            assert reading.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 1
    assert callers.find_signer(control, made[-1].access_key) is None


def test_of_refused_strangers_only_the_newest_records_stay(control: Control) -> None:
    with control.database.transaction() as transaction:
        for number, outcome in enumerate(["accepted", "auth.failed"] * 5):
            audit_log.append(
                transaction,
                AuditRecord(control.clock.now(), PROJECT, "", str(number), "", outcome, ""),
            )
        audit_log.forget_oldest(transaction, "auth.failed", keep=2)
    kept = [each.action for each in audit.list_records(control)][::-1]
    assert kept == ["0", "2", "4", "6", "7", "8", "9"]


def test_the_audit_is_listed_from_a_time_on_and_for_a_project(control: Control) -> None:
    access_keys.create_access_key(control, PROJECT)
    since = control.clock.now()
    access_keys.create_access_key(control, OTHER_PROJECT)
    assert len(audit.list_records(control)) == 2
    assert [each.project for each in audit.list_records(control, since=since)] == [OTHER_PROJECT]
    assert [each.project for each in audit.list_records(control, PROJECT)] == [PROJECT]


def test_a_password_is_known_again_and_costs_what_it_should() -> None:
    hashed = passwords.hash_password("Correct-Horse-7")
    assert hashed.startswith("scrypt$32768$8$3$")
    assert passwords.is_password("Correct-Horse-7", hashed)
    assert not passwords.is_password("correct-horse-7", hashed)
    assert "Correct" not in hashed


# --- the commands ---------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    app(list(words), result_action="return_value")
    return capsys.readouterr().out


def test_the_commands_make_list_replace_and_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, of = ("--data", str(tmp_path / "data")), ("--project", PROJECT)
    document = tmp_path / "lister.json"
    document.write_text(READER)

    def answer(*words: str) -> dict[str, object]:
        spoken: dict[str, object] = json.loads(said(capsys, *words, *data, "--json"))
        return spoken

    assert answer("key", "policy", "create", str(document), "--name", "lister") == {"policy": "lister"}
    assert answer("key", "policy", "show", "lister") == json.loads(READER)
    assert "built in" in said(capsys, "key", "policy", "list", *data)
    made = answer("key", "create", *of, "--policy", "lister", "--policy", str(document))
    assert list(made) == ["access_key", "secret_key", "project_id"]
    old = str(made["access_key"])
    rotated = answer("key", "rotate", old, *of, "--overlap-hours", "1")
    assert (rotated["replaces"], rotated["project_id"]) == (old, PROJECT)
    assert answer("key", "disable", old, *of) == {"disabled": old}
    keys = answer("key", "list", *of)["keys"]
    assert isinstance(keys, list)
    assert [each["policies"] for each in keys] == [["lister", json.loads(READER)]] * 2
    assert str(made["secret_key"]) not in said(capsys, "key", "list", *data)
    assert len(str(answer("user", "create", "op1", *of)["password"])) == 32
    (tmp_path / "password").write_text("Correct-Horse-7\n")
    told = answer("user", "create", "op2", *of, "--password-file", str(tmp_path / "password"))
    assert "password" not in told
    assert answer("user", "disable", "op1", *of) == {"disabled": "op1"}
    assert "op2" in said(capsys, "user", "list", *data)
    assert answer("audit", "list", "--since", "2999-01-01") == {"records": []}
    assert len(said(capsys, "audit", "list", *data).splitlines()) == 1 + 7
