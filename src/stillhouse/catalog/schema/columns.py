"""Column types of the catalog that behave the same on both databases."""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, Text
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC times on both databases; SQLite has no time zones, so it holds UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Document(TypeDecorator[Any]):
    """A JSON object or list as ASCII text: nothing searches in it, and PostgreSQL's json refuses some strings."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        return json.dumps({} if value is None else value, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return json.loads(value or "{}")


def required(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, nullable=False)
