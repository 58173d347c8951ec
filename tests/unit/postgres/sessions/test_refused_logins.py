"""The remedy for a server that does not let us in: never one for servers of our own where it is somebody's."""

from stillhouse.domain.cluster import Connection, Node, Role
from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.sessions.refused_logins import remedy

REFUSED = "connection failed: Connection refused"


def test_a_registered_server_that_is_silent_is_for_its_owner_to_start() -> None:
    theirs = Node("n", "cn", Role.CN, "db", 5432, "", "", connection=Connection((("db", 5432),), "backup"))
    told = Failure.of(NodeUnreachable("node cn does not answer", hint=remedy(theirs, REFUSED))).line
    assert "on its host" in told and "cluster connect" in told and "cluster restart" not in told


def test_a_server_of_ours_is_started_by_a_command() -> None:
    ours = Node("n", "cn", Role.CN, "127.0.0.1", 5432, "/data", "/run")
    told = Failure.of(NodeUnreachable("node cn does not answer", hint=remedy(ours, REFUSED))).line
    assert "cluster restart" in told
