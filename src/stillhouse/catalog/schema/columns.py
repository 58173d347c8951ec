"""Columns, uniqueness rules and names of constraints that are the same on both databases."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, Index, MetaData, Text, text
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC times on both databases; SQLite has no time zones, so it holds UTC without saying so."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:
        """In place of `process_result_value`, which is called through two further functions for each value."""
        if dialect.name == "sqlite":
            return _utc_of_text
        read: Callable[[Any], Any] = self.impl_instance.result_processor(dialect, coltype) or _as_it_is

        def process(value: Any) -> datetime | None:
            if value is None:
                return None
            found: datetime = read(value)
            return found.astimezone(UTC)

        return process


def _utc_of_text(value: str | None) -> datetime | None:
    """Read SQLite's text with the zone it does not name: to replace the zone afterwards takes ten times as long."""
    return None if value is None else datetime.fromisoformat(value + "+00:00")


def _as_it_is(value: Any) -> Any:
    return value


class Word(TypeDecorator[StrEnum]):
    """A word of an enumeration, kept as text."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], StrEnum | None]:
        """Look words up in a table, which takes a fraction of the time of a call of the enumeration."""
        known: dict[str | None, StrEnum | None] = {word.value: word for word in self.words}
        known[None] = None
        return known.__getitem__


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


def one_per(name: str, *columns: Any, among: str) -> Index:
    """A uniqueness rule that holds only among the rows where `among` is true."""
    return index_among(name, *columns, among=among, unique=True)


def index_among(name: str, *columns: Any, among: str, unique: bool = False) -> Index:
    """An index of the rows where `among` is true."""
    return Index(name, *columns, unique=unique, sqlite_where=text(among), postgresql_where=text(among))
