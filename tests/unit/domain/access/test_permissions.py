"""What a policy permits, and which documents are refused: the published forms, the traps, and a model."""

import json
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.domain.access import policy_document
from stillhouse.domain.access.permissions import (
    BUILT_IN,
    FULL_ACCESS,
    READ_ONLY_ACCESS,
    REGISTRAR,
    Permissions,
    Policy,
    Statement,
    matches,
)
from stillhouse.domain.api_operations.all_operations import ACTIONS, OPERATIONS
from stillhouse.domain.api_operations.needs import REGISTER
from stillhouse.errors import InvalidInput

CREATE = OPERATIONS["CreateSnapshot"].need.names
DELETE = OPERATIONS["DeleteSnapshot"].need.names
CLUSTER = "6f1d9c52-7a8e-4c03-9b11-2f60d0a1e7c4"
OTHER = "d0c9b8a7-9687-4756-8453-423120191817"


def document(*statements: dict[str, Any], version: str = "1.1") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


def allow(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), **more}


def deny(*actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions), **more}


def permitted(*statements: dict[str, Any]) -> Permissions:
    return Permissions(((policy_document.parse(document(*statements)),),))


def test_nothing_is_allowed_by_default() -> None:
    assert not Permissions().allow(CREATE, CLUSTER)
    assert not Permissions().may_allow(CREATE)
    assert not Permissions(((),)).allow(CREATE, CLUSTER)
    assert not permitted(allow("dws:cluster:deleteSnapshot")).allow(CREATE, CLUSTER)


@pytest.mark.parametrize("name", CREATE)
def test_each_name_of_an_operation_allows_it_and_denies_it(name: str) -> None:
    assert permitted(allow(name)).allow(CREATE, CLUSTER)
    assert not permitted(allow("dws:*:*"), deny(name)).allow(CREATE, CLUSTER)


def test_deny_wins_in_whatever_order_and_from_another_policy() -> None:
    both = (allow(*CREATE), deny("dws:snapshot:create"))
    for statements in (both, both[::-1]):
        assert not permitted(*statements).allow(CREATE, CLUSTER)
    denying = policy_document.parse(document(deny("dws:cluster:createSnapshot")))
    assert not Permissions(((BUILT_IN[FULL_ACCESS], denying),)).allow(CREATE, CLUSTER)


def test_names_are_compared_without_regard_to_case() -> None:
    assert permitted(allow("DWS:Cluster:CREATESNAPSHOT")).allow(CREATE, CLUSTER)


def test_every_grant_must_allow() -> None:
    full, read = (BUILT_IN[FULL_ACCESS],), (BUILT_IN[READ_ONLY_ACCESS],)
    assert Permissions((full, full)).allow(CREATE, CLUSTER)
    assert not Permissions((full, read)).allow(CREATE, CLUSTER)
    assert not Permissions((read, full)).may_allow(CREATE)


def test_a_statement_about_one_cluster_says_nothing_of_others_nor_of_all() -> None:
    narrow = permitted(allow("dws:*:*", Resource=[f"dws:*:*:cluster:{CLUSTER.upper()}"]))
    assert narrow.allow(CREATE, CLUSTER) and narrow.allow(CREATE, CLUSTER.upper())
    assert not narrow.allow(CREATE, OTHER)
    assert not narrow.allow(OPERATIONS["ListSnapshots"].need.names, None)
    spared = permitted(allow("dws:*:*"), deny("dws:*:*", Resource=f"dws:*:*:cluster:{CLUSTER}"))
    assert not spared.allow(CREATE, CLUSTER)
    assert spared.allow(CREATE, OTHER) and spared.allow(OPERATIONS["ListSnapshots"].need.names, None)


def test_the_built_in_policies_are_what_they_are_called() -> None:
    full, read = (Permissions(((BUILT_IN[name],),)) for name in (FULL_ACCESS, READ_ONLY_ACCESS))
    needs = {name: one.need for name, one in OPERATIONS.items() if one.need != REGISTER}
    reads = {name for name, need in needs.items() if need.names and read.allow(need.names, None)}
    assert all(full.allow(need.names, None) for need in needs.values() if need.names)
    registrar = Permissions(((BUILT_IN[REGISTRAR],),))
    assert registrar.allow(REGISTER.names, None)
    assert not full.allow(REGISTER.names, None)
    assert not any(registrar.allow(need.names, None) for need in needs.values())
    # CheckDisasterName asks only whether a name is free.
    reading = ("List", "Show", "CheckDisasterName")
    assert reads == {name for name, need in needs.items() if need.names and name.startswith(reading)}


@pytest.mark.parametrize("resource", ["*", ["*"], "dws:*:*:cluster:*", "DWS:*:*:cluster:6f1d*"])
@pytest.mark.parametrize("version", ["1.1", "5.0"])
def test_the_published_forms_are_understood(version: str, resource: Any) -> None:
    text = document(allow("dws:*:get*", "dws:openAPISnapshot:*", Resource=resource), version=version)
    assert Permissions(((policy_document.parse(text),),)).allow(CREATE, CLUSTER)


REFUSED = {
    "not JSON": "{",
    "a number too long": '{"Version": ' + "9" * 5000 + "}",
    "too deep": "[" * 6000,
    "too long": " " * 6145,
    "a list": "[]",
    "nothing": "{}",
    "no version": json.dumps({"Statement": [allow("dws:*:*")]}),
    "a version to come": document(allow("dws:*:*"), version="6.0"),
    "no statement": document(),
    "a statement alone": json.dumps({"Version": "1.1", "Statement": allow("dws:*:*")}),
    "the same key twice": '{"Version": "1.1", "Version": "1.1", "Statement": []}',
    "an unknown key": json.dumps({"Version": "1.1", "Statement": [allow("dws:*:*")], "Depends": []}),
    "an unknown effect": document({"Effect": "allow", "Action": "dws:*:*"}),
    "no effect": document({"Action": "dws:*:*"}),
    "no action": document({"Effect": "Deny"}),
    "an empty action": document(allow()),
    "an action that is a number": document({"Effect": "Deny", "Action": [1]}),
    "another service": document(allow("obs:*:*")),
    "a slip of the pen": document(deny("dws:cluster:createSnapshots")),
    "a pattern that means nothing": document(deny("dws:snapshots:*")),
    "NotAction": document({"Effect": "Deny", "NotAction": "dws:*:*"}),
    "NotResource": document(allow("dws:*:*", NotResource="*")),
    "Principal": document(allow("dws:*:*", Principal="*")),
    "Condition": document(allow("dws:*:*", Condition={"StringEquals": {"g:EnterpriseProjectId": ["0"]}})),
    "a region": document(allow("dws:*:*", Resource="dws:cn-north-4:*:cluster:*")),
    "an account": document(allow("dws:*:*", Resource="dws:*:acme:cluster:*")),
    "a snapshot": document(allow("dws:*:*", Resource=f"dws:*:*:snapshot:{CLUSTER}")),
    "a cluster's name": document(allow("dws:*:*", Resource="dws:*:*:cluster:sales-dw")),
    "no resource": document(allow("dws:*:*", Resource=[])),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="Policy refused: "):
        policy_document.parse(text)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_pattern_matches_as_a_wildcard_of_files_does(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fnmatchcase(text, pattern)


def test_a_pattern_of_many_stars_is_matched_at_once() -> None:
    assert not matches("*a" * 3000, "a" * 2999)


_NAMES = [("x:create", "old:make"), ("x:list",), ("x:get", "old:get")]
_CLUSTERS = ["1a", "1b", "2a"]
_STATEMENTS = st.builds(
    Statement,
    allow=st.booleans(),
    actions=st.lists(
        st.sampled_from(["x:create", "old:make", "x:list", "old:*", "x:*", "*"]), min_size=1, max_size=2
    ).map(tuple),
    clusters=st.lists(st.sampled_from(["*", "1a", "1*", "2*"]), min_size=1, max_size=2).map(tuple),
)
_GRANTS = st.lists(
    st.lists(
        st.lists(_STATEMENTS, max_size=3).map(lambda each: Policy(tuple(each))), min_size=0, max_size=2
    ).map(tuple),
    max_size=2,
).map(tuple)


def _by_brute_force(permissions: Permissions, names: tuple[str, ...], cluster: str | None) -> bool:
    """Every statement spelt out into the pairs of name and cluster that it means, and then set arithmetic."""
    asked = set(product(names, [cluster]))
    for grant in permissions.grants:
        said: dict[bool, set[tuple[str, str | None]]] = {True: set(), False: set()}
        for statement in (one for policy in grant for one in policy.statements):
            everything = [*_CLUSTERS, None] if "*" in statement.clusters else _CLUSTERS
            said[statement.allow] |= {
                (name, which)
                for name, which in product((name for each in _NAMES for name in each), everything)
                if any(fnmatchcase(name, pattern) for pattern in statement.actions)
                and (which is None or any(fnmatchcase(which, pattern) for pattern in statement.clusters))
            }
        if not asked & said[True] or asked & said[False]:
            return False
    return bool(permissions.grants)


@given(st.builds(Permissions, _GRANTS), st.sampled_from(_NAMES))
def test_permissions_are_those_of_the_model(permissions: Permissions, names: tuple[str, ...]) -> None:
    answers = {each: permissions.allow(names, each) for each in [*_CLUSTERS, None]}
    assert answers == {each: _by_brute_force(permissions, names, each) for each in answers}
    if any(answers.values()):
        assert permissions.may_allow(names)
    if not permissions.are_narrow:
        assert set(answers.values()) == {permissions.may_allow(names)}


def test_every_action_is_of_this_service_and_of_three_parts() -> None:
    assert all(name.startswith(("dws:", "stillhouse:")) and len(name.split(":")) == 3 for name in ACTIONS)
