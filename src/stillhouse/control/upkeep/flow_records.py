"""Removes the workflow engine's records of flows that ended some days ago; the engine keeps them for ever."""

from datetime import datetime, timedelta

from stillhouse import log
from stillhouse.control.flow_context import FlowContext

_EVERY = timedelta(hours=1)


class FlowRecords:
    """A duty of the timer that looks once an hour. The first look is at the start: a service may never run for long."""

    def __init__(self) -> None:
        self._next: datetime | None = None

    def __call__(self, place: FlowContext, now: datetime) -> None:
        # A clock that was put back must not keep the look away for long.
        if self._next is not None and self._next - _EVERY <= now < self._next:
            return
        self._next = now + _EVERY
        kept = timedelta(days=place.control.settings.flow_record_days)
        if forgotten := place.control.flows.forget_ended(now - kept):
            log.get("flow records").info("records of ended flows removed", flows=forgotten)
