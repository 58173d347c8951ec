"""The flows at work in this process, when each of them last came further, and the load of the engine."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

MOST_COUNTED = 10_000
# The engine's table and the threads here agree after so long, and a flow that can be taken is taken.
_SETTLED_SECONDS = 60.0

_here: ContextVar[str] = ContextVar("flow at work", default="")


@dataclass(frozen=True)
class Running:
    """A flow at work. `quiet_seconds` have passed since it, or a child of it, last came further."""

    name: str
    subject: str
    quiet_seconds: float


@dataclass
class _Entry:
    name: str
    subject: str
    moved: float


class AtWork:
    """A flow comes further when one of its steps begins or ends, and when the work in a step tells so by `pulse`.

    For any thread. Waiting is no progress: a flow that waits for a server that hangs grows quiet.
    """

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._parents: dict[str, str] = {}
        self._guard = threading.Lock()

    @contextmanager
    def entered(self, flow_id: str, name: str, subject: str) -> Iterator[None]:
        """Count the flow as at work, in this thread."""
        with self._guard:
            self._entries[flow_id] = _Entry(name, subject, monotonic())
        before = _here.set(flow_id)
        try:
            yield
        finally:
            _here.reset(before)
            with self._guard:
                self._entries.pop(flow_id, None)
                self._parents = {child: one for child, one in self._parents.items() if one != flow_id}

    def adopt(self, child_id: str) -> None:
        """Note that the flow of this thread has this child: when the child comes further, so does its parent."""
        with self._guard:
            self._parents[child_id] = _here.get()

    def pulse(self) -> Callable[[], None]:
        """Return a function that notes that the flow of this thread came further. It is for any thread."""
        flow_id = _here.get()
        return lambda: self._move(flow_id)

    def running(self) -> dict[str, Running]:
        now = monotonic()
        with self._guard:
            return {
                flow_id: Running(one.name, one.subject, now - one.moved)
                for flow_id, one in self._entries.items()
            }

    def _move(self, flow_id: str) -> None:
        now = monotonic()
        with self._guard:
            while (entry := self._entries.get(flow_id)) is not None:
                entry.moved = now
                flow_id = self._parents.get(flow_id, "")


@dataclass(frozen=True)
class Load:
    """The flows that have not ended, by their names. Lost flows began, and are at work nowhere.

    `oldest_queued_seconds` have passed since the oldest of those that wait was enqueued, 0 if no flow waits.
    """

    queued: Mapping[str, int]
    running: Mapping[str, int]
    lost: Mapping[str, int]
    oldest_queued_seconds: float
    most_at_once: int

    @property
    def why_stuck(self) -> str:
        """Say why the engine is believed not to take work, or ""."""
        if lost := sum(self.lost.values()):
            return f"{lost} flows have begun and are at work nowhere: restart the service"
        is_full = sum(self.running.values()) >= self.most_at_once
        if self.oldest_queued_seconds > _SETTLED_SECONDS and not is_full:
            return f"the oldest flow has waited for {self.oldest_queued_seconds:.0f} s, and none is taken"
        return ""


class _Row(Protocol):
    """A flow in the engine's table. Times are milliseconds since 1970."""

    workflow_id: str
    status: str
    name: str
    created_at: int | None
    updated_at: int | None


def load_of(unended: Iterable[_Row], at_work: AtWork | None, *, most_at_once: int) -> Load:
    """Sort the engine's flows that have not ended. `at_work` is `None` where another process carries them out."""
    here, now = at_work.running() if at_work else {}, time.time()
    queued, running, lost = Counter[str](), Counter[str](), Counter[str]()
    oldest = 0.0
    for one in unended:
        if one.status == "ENQUEUED":
            queued[one.name] += 1
            oldest = max(oldest, now - (one.created_at or 0) / 1000)
        elif (
            at_work and one.workflow_id not in here and now - (one.updated_at or 0) / 1000 > _SETTLED_SECONDS
        ):
            lost[one.name] += 1
        else:
            running[one.name] += 1
    return Load(queued, running, lost, oldest, most_at_once)
