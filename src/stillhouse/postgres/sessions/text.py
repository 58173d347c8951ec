"""Text encoding between us and a server, byte for byte, so that any name in any encoding arrives unchanged.

Names in shared catalogs are bytes. A name that was made in a SQL_ASCII database, or by a client of another encoding,
may be invalid in the database that we ask. So the server converts nothing, and each session speaks its database's own
encoding. Bytes unknown to that encoding become lone surrogates (PEP 383). `stillhouse.errors.shown` is for people.
"""

import json
from typing import Any

import psycopg
from psycopg import abc, adapt

Connection = psycopg.Connection[tuple[Any, ...]]

# Encodings without a codec in Python (psycopg/_encodings.py), or without meaning. Their bytes are decoded as UTF-8.
_WITHOUT_CODEC = ("SQL_ASCII", "MULE_INTERNAL", "EUC_TW")
_AS_TEXT = ("text", "varchar", "bpchar", "name", '"char"', 0)


def encode(text: str) -> bytes:
    """Encode a name of a shared catalog, for example a database's name. It has the same bytes in every database."""
    return text.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class Codec:
    """The encoding of one session."""

    def __init__(self, connection: "psycopg.BaseConnection[Any] | None") -> None:
        name = "utf-8" if connection is None else connection.info.encoding
        self._name = "utf-8" if name in ("ascii", "utf-8") else name

    def encode(self, text: str) -> bytes:
        """Encode `text`. Raises psycopg.DataError for a character that the encoding lacks."""
        try:
            return text.encode(self._name, "surrogateescape")
        except UnicodeEncodeError as error:
            raise psycopg.DataError(f"{self._name} has no code for {text[error.start]!a}") from error

    def shared(self, text: str) -> str:
        """Return a name of a shared catalog as it reads in a database of any encoding."""
        return decode(self.encode(text))

    def can_say(self, text: str) -> bool:
        """Whether an object in this database could have the name `text`."""
        try:
            text.encode(self._name)
        except UnicodeEncodeError:
            return False
        return "\0" not in text

    def decode(self, raw: abc.Buffer) -> str:
        text = bytes(raw).decode(self._name, "surrogateescape")
        if self._name == "utf-8" or self.encode(text) == raw:
            return text
        # Python's codec decodes two codes to one character, so the bytes would not come back unchanged.
        return bytes(raw).decode("ascii", "surrogateescape")


def speak_as_bytes(connection: Connection) -> None:
    """Make a fresh session, opened with client_encoding SQL_ASCII, carry text unchanged."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in _WITHOUT_CODEC:
        connection.execute(f"SET client_encoding TO '{encoding}'".encode())
    adapters = connection.adapters
    for kind in _AS_TEXT:
        adapters.register_loader(kind, _TextLoader)
    for kind in ("json", "jsonb"):
        adapters.register_loader(kind, _JsonLoader)
    adapters.register_dumper(str, _TextDumper)
    connection.cursor_factory = _Cursor


class _TextLoader(adapt.Loader):
    def __init__(self, oid: int, context: abc.AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._codec = Codec(self.connection)

    def load(self, data: abc.Buffer) -> str:
        return self._codec.decode(data)


class _JsonLoader(_TextLoader):
    def load(self, data: abc.Buffer) -> Any:
        return json.loads(super().load(data))


class _TextDumper(adapt.Dumper):
    def __init__(self, cls: type, context: abc.AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        self._codec = Codec(self.connection)

    def dump(self, obj: str) -> bytes:
        if "\0" in obj:
            raise psycopg.DataError("text cannot hold the character NUL")
        return self._codec.encode(obj)


class _Cursor(psycopg.Cursor[tuple[Any, ...]]):
    """A cursor that encodes a statement as the names in it."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> "_Cursor":
        if isinstance(query, str):
            query = Codec(self.connection).encode(query)
        return super().execute(query, *arguments, **options)
