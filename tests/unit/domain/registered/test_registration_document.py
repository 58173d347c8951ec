"""Registrations as they are written: read strictly, with values of the whole cluster and of each node."""

from typing import Any

import pytest

from stillhouse.domain.cluster import Engine
from stillhouse.domain.registered.registration import WantedNode, address, proposed, read, written
from stillhouse.errors import InvalidInput

SINGLE: dict[str, Any] = {"name": "orders", "coordinator": {"hosts": ["db.example.org"]}}
WIRED: dict[str, Any] = {
    "name": "orders",
    "engine": "fdw",
    "password_file": "/etc/shared",
    "coordinator": {"hosts": ["cn"]},
    "data_nodes": [
        {"hosts": ["dn1:5433", "dn1b"], "known_as": "10.0.0.1"},
        {"hosts": ["dn2"], "password": "hidden"},
    ],
}


def test_a_node_has_the_values_of_the_cluster_unless_it_has_its_own() -> None:
    found = read(WIRED)
    assert found.engine is Engine.FDW
    first, second = found.data_nodes
    assert first.hosts == (("dn1", 5433), ("dn1b", 5432))
    assert (first.known_as, first.password_file) == ((("10.0.0.1", 5432),), "/etc/shared")
    assert (second.password, second.password_file) == ("hidden", ""), (
        "its own password is instead of the shared one"
    )
    assert found.coordinator.tls == "verify-full"


def test_a_secret_is_in_no_representation() -> None:
    assert "hidden" not in repr(read(WIRED).data_nodes[1])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"passwort": "x"}, "which is not understood"),
        ({"engine": "citus"}, "engine is one of single, fdw"),
        ({"data_nodes": [{"hosts": ["dn1"]}]}, "a single server has no data nodes"),
        ({"coordinator": {"hosts": []}}, "1 to 8 hosts"),
        ({"coordinator": {"hosts": ["/var/run/postgresql"]}}, "a host is a name or an IP address"),
        ({"coordinator": {"hosts": ["a:b"]}}, "HOST or HOST:PORT"),
        ({"coordinator": {"hosts": ["a"], "tls": "prefer"}}, "tls is one of"),
        ({"coordinator": "a"}, "coordinator is an object"),
        ({"password": "a", "password_file": "/b"}, "one of password, password_file and pgpass_file"),
        ({"ca_file": "/a", "ca_certificate": "b"}, "one of ca_file and ca_certificate"),
        ({"password": 7}, "password is a text"),
        ({"name": None}, "name is a text"),
    ],
)
def test_a_document_that_is_not_understood_is_refused_with_the_reason(
    changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        read({**SINGLE, **changed})


def test_one_address_is_not_two_nodes() -> None:
    twice = {**WIRED, "data_nodes": [{"hosts": ["dn1"]}, {"hosts": ["dn1:5432"]}]}
    with pytest.raises(InvalidInput, match="two nodes have the same address"):
        read(twice)


@pytest.mark.parametrize("file", ["password_file", "pgpass_file", "ca_file"])
def test_only_the_operator_names_files(file: str) -> None:
    document = {**SINGLE, file: "/etc/shadow"}
    read(document)
    with pytest.raises(InvalidInput, match="only the operator"):
        read(document, may_name_files=False)


@pytest.mark.parametrize("text", ["db:5432", "10.0.0.1:1", "[fd00::1]:5432"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert written(address(text)) == text


def test_a_proposal_can_be_read_and_has_no_password() -> None:
    coordinator = WantedNode((("cn", 5432),), password="secret")
    document = proposed("orders", coordinator, [(("dn1", 5432), ("dn1b", 5432))])
    assert "secret" not in str(document)
    assert read(document).data_nodes[0].hosts == (("dn1", 5432), ("dn1b", 5432))
