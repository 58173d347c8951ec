"""Every name rule at its limit and one past it."""

from collections.abc import Callable

import pytest

from stillhouse.domain import names
from stillhouse.errors import InvalidInput


@pytest.mark.parametrize("check", [names.check_snapshot_name, names.check_cluster_name])
@pytest.mark.parametrize("name", ["abcd", "A-_9", "a" * 64, "Nightly_2026-11-20"])
def test_a_name_within_the_rule_passes(check: Callable[[str], None], name: str) -> None:
    check(name)


@pytest.mark.parametrize("check", [names.check_snapshot_name, names.check_cluster_name])
@pytest.mark.parametrize(
    "name",
    [
        "",
        "abc",
        "a" * 65,
        "1abc",
        "_abc",
        "-abc",
        "ab c",
        "abcé",
        "abcd\n",
        "abc.d",
        "a" * 2_000_000,
        "abc\0",
        "４ａｂｃ",
    ],
)
def test_a_name_outside_the_rule_is_refused_without_repeating_it(
    check: Callable[[str], None], name: str
) -> None:
    with pytest.raises(InvalidInput, match="4 to 64 characters") as refusal:
        check(name)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("text", ["", "x" * 256, "雪" * 256, "line\nbreak; semi-colon, 100 %"])
def test_a_description_within_the_rule_passes(text: str) -> None:
    names.check_description(text)


@pytest.mark.parametrize("text", ["x" * 257, "雪" * 257, *"!<>'=&\"", "a\0b", "\ud800", "ok\udfff"])
def test_a_description_outside_the_rule_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="description"):
        names.check_description(text)


@pytest.mark.parametrize("name", ["a", "_", "dbadmin", "a" * 63, "u_1", "users", "pgadmin", "stillhouse2"])
def test_a_user_name_within_the_rule_passes(name: str) -> None:
    names.check_user_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "a" * 64, "1a", "Admin", "a-b", "a b", "é", "user", "select", "authorization", "public", "none",
     "pg_x", "pg_", "stillhouse", "stillhouse_", "stillhouse_tables_0123456789ab", "a\n"],
)  # fmt: skip
def test_a_user_name_outside_the_rule_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="user_name"):
        names.check_user_name(name)


@pytest.mark.parametrize(
    "password",
    [
        "Str0ng-Pass-1",
        "Abcdefghij12",
        "abcdefghij1-",
        "ABCDEFGHIJ1-",
        "Abcdefghijk~",
        "A1" + "a" * 30,
        "aA~!?,.:;_(){}[]/<>@#%^&*+|\\=-",
    ],
)
def test_a_password_within_the_rule_passes(password: str) -> None:
    names.check_password(password, "dbadmin")


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("Abcdefghi12", "12 to 32"),
        ("A1" + "a" * 31, "12 to 32"),
        ("abcdefghijkl1", "at least three"),
        ("ABCDEFGHIJKL-", "at least three"),
        ("Abcdefghij1 ", "only ASCII"),
        ("Abcdefghij1é", "only ASCII"),
        ("Abcdefghij1$", "only ASCII"),
        ("Abcdefghij1'", "only ASCII"),
        ("Abcdefghij1\0", "only ASCII"),
        ("Abcdefghijk٣", "only ASCII"),
    ],
)
def test_a_password_outside_the_rule_is_refused_and_never_repeated(password: str, rule: str) -> None:
    with pytest.raises(InvalidInput, match=rule) as refusal:
        names.check_password(password, "dbadmin")
    assert password not in str(refusal.value)


@pytest.mark.parametrize("password", ["abc_12345678", "87654321_cba"])
def test_a_password_equal_to_the_user_name_either_way_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput, match="user name"):
        names.check_password(password, "abc_12345678")
    names.check_password(password, "someone_else")


@pytest.mark.parametrize("port", [8000, 30000])
def test_a_port_at_the_limits_passes(port: int) -> None:
    names.check_port(port)


@pytest.mark.parametrize("port", [7999, 30001, 0, -1])
def test_a_port_past_the_limits_is_refused(port: int) -> None:
    with pytest.raises(InvalidInput, match="8000 and 30000"):
        names.check_port(port)


@pytest.mark.parametrize("number", [1, 256])
def test_a_number_of_nodes_at_the_limits_passes(number: int) -> None:
    names.check_number_of_node(number)


@pytest.mark.parametrize("number", [0, 257, -3])
def test_a_number_of_nodes_past_the_limits_is_refused(number: int) -> None:
    with pytest.raises(InvalidInput, match="1 and 256"):
        names.check_number_of_node(number)
