"""Composed SQL statements, as in psycopg.sql, but for names and texts that may hold any bytes."""

from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import AdaptContext
from psycopg.sql import Composable, Composed, Literal

from stillhouse.postgres.sessions.text import Codec

__all__ = ["SQL", "Composable", "Composed", "Identifier", "Literal", "as_text"]


class SQL(sql.SQL):
    """A part of a statement. It may hold names that the server has quoted."""

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        return _codec(context).encode(self._obj)


class Identifier(sql.Identifier):
    """A name, or several names joined by dots."""

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        codec = _codec(context)
        # libpq's own quoting refuses bytes that are invalid in the client's encoding. In every server encoding the byte
        # of a quote is part of no other character.
        return b".".join(b'"' + codec.encode(name).replace(b'"', b'""') + b'"' for name in self._names())

    def _names(self) -> tuple[str, ...]:
        if any("\0" in name for name in self._obj):
            raise psycopg.DataError("a name cannot hold the character NUL")
        return tuple(self._obj)


def as_text(part: Composable, connection: "psycopg.BaseConnection[Any]") -> str:
    """Return a part of a statement as text that `connection` sends as the same bytes, whatever names are in it."""
    return Codec(connection).decode(part.as_bytes(connection))


def _codec(context: AdaptContext | None) -> Codec:
    connection: psycopg.BaseConnection[Any] | None = context.connection if context else None
    return Codec(connection)
