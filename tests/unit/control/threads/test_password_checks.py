"""The queue of password checks: bounded in all and per sender, in threads of its own."""

import threading

import pytest

from stillhouse.control.threads.password_checks import PasswordChecks
from stillhouse.errors import Overloaded


def test_beyond_its_length_a_check_is_refused_at_once_and_later_taken() -> None:
    checks, going_on = PasswordChecks(most=4, most_per_sender=3), threading.Event()
    queued = [checks.submit("10.0.0.1", going_on.wait) for _ in range(3)]
    with pytest.raises(Overloaded) as refused:
        checks.submit("10.0.0.1", going_on.wait)
    assert (refused.value.status, refused.value.retry_after) == (503, 2)
    queued.append(checks.submit("10.0.0.2", going_on.wait))  # one sender leaves room for others
    with pytest.raises(Overloaded):
        checks.submit("10.0.0.3", going_on.wait)
    going_on.set()
    assert all(one.result(30) for one in queued)
    assert checks.submit("10.0.0.1", lambda: "right").result(30) == "right"


def test_a_check_that_fails_leaves_its_place() -> None:
    checks = PasswordChecks(most=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            checks.submit("10.0.0.1", lambda: 1 // 0).result(30)
    assert not checks._by_sender
