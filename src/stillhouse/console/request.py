"""A request as the gateway hands it over, and an answer in bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

from starlette.types import Scope, Send

from stillhouse.console import headers
from stillhouse.errors import InvalidInput

_HTML = (b"content-type", b"text/html; charset=utf-8")
_Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: _Headers = field(repr=False)
    body: bytes = field(repr=False)
    address: str
    request_id: str
    is_tls: bool

    @classmethod
    def of(cls, scope: Scope, body: bytes) -> "Request":
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=_query(scope["query_string"]),
            headers=scope["headers"],
            body=body,
            address=scope["client"][0],
            request_id=scope["state"]["request_id"],
            is_tls=scope["scheme"] == "https",
        )


@dataclass(frozen=True)
class Answer:
    status: int
    headers: _Headers = field(default_factory=list, repr=False)
    body: bytes = field(default=b"", repr=False)

    async def go(self, send: Send) -> None:
        told = [*headers.SECURITY, *self.headers, (b"content-length", str(len(self.body)).encode())]
        await send({"type": "http.response.start", "status": self.status, "headers": told})
        await send({"type": "http.response.body", "body": self.body})


def html(text: str, status: int = 200, *more: tuple[bytes, bytes]) -> Answer:
    return Answer(status, [_HTML, *headers.PRIVATE, *more], text.encode("utf-8", "replace"))


def see_other(place: str, *more: tuple[bytes, bytes]) -> Answer:
    return Answer(303, [(b"location", quote(place, safe="/?=&%-_.~").encode()), *headers.PRIVATE, *more])


def _query(raw: bytes) -> Mapping[str, Any]:
    try:
        return dict(
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        )
    except ValueError as error:
        raise InvalidInput("the address cannot be read") from error
