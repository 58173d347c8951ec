"""Logs: one JSON object per line, with the request's or flow's ids in each; never a secret."""

import logging
import sys
from typing import Any

import structlog

SECRET_KEYS = frozenset(
    {"password", "user_pwd", "new_password", "secret", "secret_key", "authorization", "kek", "x-auth-token"}
)


def _redact(_logger: Any, _method: str, event: Any) -> Any:
    for key in event:
        if key.lower() in SECRET_KEYS:
            event[key] = "***"
    return event


def configure(level: str = "INFO") -> None:
    """Set up logging of this process: JSON lines on standard error. Idempotent."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Any:
    """Return a logger. Its lines carry `component=name` and the fields that `bound` has set."""
    return structlog.get_logger(component=name)


bound = structlog.contextvars.bound_contextvars
