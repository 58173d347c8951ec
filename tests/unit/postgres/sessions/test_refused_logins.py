"""The remedy for a server that does not let us in: never one for servers of our own where it is somebody's."""

import pytest

from stillhouse.domain.cluster import Connection, Node, Role
from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.sessions.refused_logins import remedy

REFUSED = "connection failed: Connection refused"


def test_a_registered_server_that_is_silent_is_for_its_owner_to_start() -> None:
    theirs = Node("n", "cn", Role.CN, "db", 5432, "", "", connection=Connection((("db", 5432),), "backup"))
    told = Failure.of(NodeUnreachable("node cn does not answer", hint=remedy(theirs, REFUSED))).line
    assert "on its host" in told and "cluster connect" in told and "cluster restart" not in told


def test_a_server_without_a_known_authority_wants_one_and_no_start() -> None:
    """libpq looks for a file of the service's account, which nobody has told the operator of."""
    theirs = Node("n", "cn", Role.CN, "db", 5432, "", "", connection=Connection((("db", 5432),), "backup"))
    told = remedy(theirs, 'failed: root certificate file "~/.postgresql/root.crt" does not exist')
    assert "--ca-file" in told and "start the server" not in told


@pytest.mark.parametrize(("tls", "kind"), [("verify-full", "hostssl"), ("disable", "host")])
def test_the_line_that_lets_us_in_is_of_the_kind_of_our_connection(tls: str, kind: str) -> None:
    way = Connection((("db", 5432),), "backup", tls=tls)
    theirs = Node("n", "cn", Role.CN, "db", 5432, "", "", connection=way)
    for what, databases in (
        ("for replication connection", "replication"),
        ('for host "::1"', "all,replication"),
    ):
        told = remedy(theirs, f"failed: FATAL:  no pg_hba.conf entry {what} from ...")
        assert f": {kind} {databases} backup " in told


def test_a_server_of_ours_is_started_by_a_command() -> None:
    ours = Node("n", "cn", Role.CN, "127.0.0.1", 5432, "/data", "/run")
    told = Failure.of(NodeUnreachable("node cn does not answer", hint=remedy(ours, REFUSED))).line
    assert "cluster restart" in told
