"""Bounds the rate of known callers' requests, per access key and per project, by token buckets.

A bucket of 2 seconds' requests refills at the lasting rate. Only requests of authenticated callers count, so nobody
can use up the share of another by naming a key.
"""

import math
import threading
from collections import OrderedDict

from stillhouse.errors import TooManyRequests

_SECONDS_AT_ONCE = 2
_REMEMBERED = 10_000


class Rates:
    """Times are monotonic seconds. Used from many threads."""

    def __init__(self, per_key: float, per_project: float) -> None:
        """Rates are requests per second; 0 = no bound."""
        self._keys, self._projects = _Buckets(per_key), _Buckets(per_project)
        self._guard = threading.Lock()

    def spend(self, project: str, key: str, now: float) -> None:
        """Count one request. Raises TooManyRequests, and counts nothing then."""
        with self._guard:
            for what, buckets, name in (
                ("access key", self._keys, f"{project}/{key}"),
                ("project", self._projects, project),
            ):
                seconds = buckets.seconds_until_one(name, now)
                if seconds > 0:
                    raise TooManyRequests(
                        f"The throttling threshold has been reached: the {what} is over ratelimit,"
                        f"limit:{buckets.rate:g},time:1 second",
                        retry_after=math.ceil(seconds),
                    )
            self._keys.take(f"{project}/{key}")
            self._projects.take(project)


class _Buckets:
    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = rate * _SECONDS_AT_ONCE
        # Tokens, and when they were counted. A forgotten bucket is a full one, so only the oldest are forgotten.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_until_one(self, name: str, now: float) -> float:
        """Refill the bucket; return how long it takes until it holds a token, 0 if it does."""
        if not self.rate:
            return 0
        tokens, counted = self._left.get(name, (self._most, now))
        tokens = min(self._most, tokens + (now - counted) * self.rate)
        self._left[name] = tokens, now
        self._left.move_to_end(name)
        while len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return max(0.0, (1 - tokens) / self.rate)

    def take(self, name: str) -> None:
        if self.rate:
            tokens, counted = self._left[name]
            self._left[name] = tokens - 1, counted
