"""Which errors of a session may not come again at the next try."""

from psycopg import errors, pq

from stillhouse.postgres.sessions.session import may_pass


def test_an_error_without_a_state_is_the_loss_of_the_connection() -> None:
    """libpq makes such a result by itself, for one that the server never sent. psycopg has no class for it."""
    nowhere = pq.PGconn.connect_start(b"host=/nowhere")
    assert may_pass(errors.error_from_result(nowhere.make_empty_result(pq.ExecStatus.FATAL_ERROR)))


def test_what_the_server_refuses_may_not_pass() -> None:
    assert not may_pass(errors.InsufficientPrivilege())
    assert not may_pass(errors.ReadOnlySqlTransaction())
