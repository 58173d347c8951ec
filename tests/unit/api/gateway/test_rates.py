"""Token buckets: how many requests a key and a project have, and that nobody spends another's."""

import pytest

from stillhouse.api.gateway.rates import Rates
from stillhouse.errors import TooManyRequests


def taken(rates: Rates, project: str, key: str, now: float) -> int:
    """How many requests are taken at one moment."""
    for count in range(10_000):
        try:
            rates.spend(project, key, now)
        except TooManyRequests:
            return count
    raise AssertionError("there is no bound")


def test_a_key_has_two_seconds_of_requests_at_once_and_its_rate_after_that() -> None:
    rates = Rates(per_key=10, per_project=0)
    assert taken(rates, "p", "k", now=0) == 20
    assert taken(rates, "p", "k", now=1) == 10
    assert taken(rates, "p", "k", now=1000) == 20
    with pytest.raises(TooManyRequests) as refused:
        rates.spend("p", "k", 1000)
    assert (refused.value.status, refused.value.retry_after) == (429, 1)


def test_keys_of_a_project_share_the_project_s_requests() -> None:
    rates = Rates(per_key=10, per_project=15)
    assert taken(rates, "p", "one", now=0) + taken(rates, "p", "two", now=0) == 30
    assert taken(rates, "p", "three", now=0) == 0


def test_another_project_is_not_held_up() -> None:
    rates = Rates(per_key=10, per_project=10)
    taken(rates, "p", "k", now=0)
    assert taken(rates, "q", "k", now=0) == 20


def test_a_refused_request_costs_nothing() -> None:
    rates = Rates(per_key=10, per_project=20)
    taken(rates, "p", "greedy", now=0)
    for _ in range(100):
        with pytest.raises(TooManyRequests):
            rates.spend("p", "greedy", 0)
    assert taken(rates, "p", "other", now=0) == 20


def test_zero_is_no_bound() -> None:
    rates = Rates(per_key=0, per_project=0)
    for _ in range(5000):
        rates.spend("p", "k", 0)


def test_callers_are_remembered_within_bounds() -> None:
    rates = Rates(per_key=1, per_project=1)
    for number in range(12_000):
        rates.spend(f"p{number}", "k", 0)
    assert len(rates._keys._left) == len(rates._projects._left) == 10_000
