"""`/readyz`: tells whether the service can do its work. All callers get yes or no; only this host gets the reasons.

Strangers may call it as often as they like. So only one check runs at a time, its result is kept for some seconds, and
no request holds a thread while it waits.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

from fastapi import Request
from starlette.responses import JSONResponse

from stillhouse.control.reports.readiness import ONLY_TOLD, Readiness

_GOOD_FOR_SECONDS, _PATIENCE_SECONDS = 5.0, 5.0
_STILL_LOOKING = Readiness({"look": [f"it has not ended within {_PATIENCE_SECONDS:.0f} seconds"]})


class Readyz:
    """The route. `look` may be slow, so it is called in a thread."""

    def __init__(self, look: Callable[[], Readiness]) -> None:
        self._look = look
        self._looking: asyncio.Future[Readiness] | None = None
        self._found: tuple[Readiness, float] | None = None

    async def answer(self, request: Request) -> JSONResponse:
        found = await self._recent()
        told: dict[str, object] = {"status": "ready" if found.is_ready else "not ready"}
        if getattr(request.state, "is_told_reasons", False):
            told["checks"] = {
                part: {"ready": not reasons, "needed": part not in ONLY_TOLD, "reasons": reasons}
                for part, reasons in found.reasons.items()
            }
        return JSONResponse(told, 200 if found.is_ready else 503)

    async def _recent(self) -> Readiness:
        if self._found is not None and monotonic() - self._found[1] < _GOOD_FOR_SECONDS:
            return self._found[0]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._look))
        try:
            # Shielded: a caller who goes away must not end the check that others wait for.
            found = await asyncio.wait_for(asyncio.shield(self._looking), _PATIENCE_SECONDS)
        except TimeoutError:
            return _STILL_LOOKING
        self._found = found, monotonic()
        return found
