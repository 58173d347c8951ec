"""The engine's log, forwarded to ours without the tracebacks that the engine prints for ordinary ends of a flow."""

import logging

from stillhouse import log
from stillhouse.errors import StillhouseError

_ENGINE_LOGGER = "dbos"


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        lines = log.get("durable")
        if isinstance(error, StillhouseError):
            # The catalog holds the reason of a flow that failed with one of our errors.
            lines.info("flow failed", code=error.code, reason=str(error))
        elif record.levelno >= logging.ERROR:
            lines.error(record.getMessage(), exc_info=record.exc_info)
        else:
            lines.warning(record.getMessage())


def forward_engine_log() -> None:
    """Take over the engine's logger, before the engine adds its own handler. Idempotent."""
    logger = logging.getLogger(_ENGINE_LOGGER)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.handlers = [_Forward()]
