"""Logs: one JSON object per line, with the request's or flow's ids in each; never a secret."""

import json
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


# A line is at most so many characters, before JSON escapes some of them.
_MOST_OF_FIELD, _MOST_OF_TRACE, _MOST_OF_LINE = 2000, 16_000, 24_000


def _bound(_logger: Any, _method: str, event: Any) -> Any:
    """Cut long values out of their middle: strangers choose paths and names, and an error's last words tell most."""
    left = _MOST_OF_LINE
    texts = {key: value if isinstance(value, str) else str(value) for key, value in event.items()}
    for key, text in sorted(
        texts.items(), key=lambda item: len(item[1])
    ):  # so that the short ones stay whole
        most = min(left, _MOST_OF_TRACE if key == "exception" else _MOST_OF_FIELD)
        if len(text) > most:
            head, tail = text[: most // 2], text[len(text) - most // 2 :]
            event[key] = text = f"{head}... ({len(text) - most} left out) ...{tail}"
        left = max(0, left - len(text))
    return event


# Made once: `json.dumps` with options makes one for each line.
_ENCODER = json.JSONEncoder(default=repr)


def _json(event: Any, **_options: Any) -> str:
    return _ENCODER.encode(event)


def configure(level: str = "INFO") -> None:
    """Set up logging of this process: JSON lines on standard error. Idempotent."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            _bound,
            structlog.processors.JSONRenderer(_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Any:
    """Return a logger. Its lines carry `component=name` and the fields that `bound` has set."""
    return structlog.get_logger(component=name)


bound = structlog.contextvars.bound_contextvars
