"""Text between us and a server, byte for byte: no name is refused for its encoding, and none comes back changed.

Names in shared catalogs are bytes: one that was made in a SQL_ASCII database, or by a client of another encoding, need
not be valid in the database that we ask. So the server converts nothing, each session speaks its database's own
encoding, and what that does not know stands as lone surrogates (PEP 383). `stillhouse.errors.shown` is for people.
"""

import json
from typing import Any

import psycopg
from psycopg import abc, adapt

Connection = psycopg.Connection[tuple[Any, ...]]

# Encodings without a codec in Python (psycopg/_encodings.py), or without meaning: their bytes are taken for UTF-8.
_WITHOUT_CODEC = ("SQL_ASCII", "MULE_INTERNAL", "EUC_TW")
_AS_TEXT = ("text", "varchar", "bpchar", "name", '"char"', 0)


def encode(text: str) -> bytes:
    """A name of a shared catalog, such as a database's: the same bytes in every database."""
    return text.encode("utf-8", "surrogateescape")


def decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class Codec:
    """The encoding of one session."""

    def __init__(self, connection: "psycopg.BaseConnection[Any] | None") -> None:
        name = "utf-8" if connection is None else connection.info.encoding
        self._name = "utf-8" if name in ("ascii", "utf-8") else name

    def encode(self, text: str) -> bytes:
        """Raises psycopg.DataError for what the encoding has no code for."""
        try:
            return text.encode(self._name, "surrogateescape")
        except UnicodeEncodeError as error:
            raise psycopg.DataError(f"{self._name} has no code for {text[error.start]!a}") from error

    def shared(self, text: str) -> str:
        """A name that stands in a shared catalog as well, as it reads in a database of any encoding."""
        return decode(self.encode(text))

    def can_say(self, text: str) -> bool:
        """Whether the name of something in this database could be `text`."""
        try:
            text.encode(self._name)
        except UnicodeEncodeError:
            return False
        return "\0" not in text

    def decode(self, raw: abc.Buffer) -> str:
        text = bytes(raw).decode(self._name, "surrogateescape")
        if self._name == "utf-8" or self.encode(text) == raw:
            return text
        return bytes(raw).decode(
            "ascii", "surrogateescape"
        )  # Python's codec knows two codes for one character


def speak_as_bytes(connection: Connection) -> None:
    """Have a fresh session, opened with client_encoding SQL_ASCII, carry text as it is."""
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
    """A statement that is text may hold names: it is encoded as they are."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> "_Cursor":
        if isinstance(query, str):
            query = Codec(self.connection).encode(query)
        return super().execute(query, *arguments, **options)
