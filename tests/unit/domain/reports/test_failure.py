"""Failures as they are kept and told: the code, the reason, and a hint for each kind."""

import pytest

from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import Cancelled, CaptureFailed, InternalError, NodeUnreachable, StoreUnavailable


def test_a_failure_is_told_on_one_line_with_its_hint() -> None:
    found = Failure("node.unreachable", "FATAL:  the server\n  is starting up", "wait\nfor it")
    assert found.line == "FATAL: the server is starting up (wait for it)"
    assert Failure("", "no hint").line == "no hint"


def test_the_errors_own_hint_comes_before_that_of_its_kind() -> None:
    assert Failure.of(StoreUnavailable("gone", hint="mount it")).hint == "mount it"


@pytest.mark.parametrize("kind", [NodeUnreachable, StoreUnavailable, InternalError])
def test_an_error_without_a_hint_gets_that_of_its_kind(
    kind: type[NodeUnreachable | StoreUnavailable | InternalError],
) -> None:
    found = Failure.of(kind("it broke"))
    assert (found.code, found.reason) == (kind.code, "it broke") and found.hint


def test_only_a_cancellation_is_one() -> None:
    assert Failure.of(Cancelled("called off")).is_cancellation
    assert not Failure.of(CaptureFailed("broken")).is_cancellation
