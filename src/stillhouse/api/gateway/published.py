"""The published APIs as the gateway sees them, and the search for the one that a request is for."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.types import Scope

from stillhouse.errors import ApiUnknown

# `None` stands for a parameter, which any segment but an empty one fits.
_Template = tuple[str | None, ...]


@dataclass(frozen=True)
class Answered:
    """A successful answer in bytes. `rest` gives further parts of a long body, each when it is wanted."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(repr=False)
    body: bytes = field(repr=False)
    rest: Iterator[bytes] | None = None


class Route(Protocol):
    """One published API."""

    path: str
    name: str

    @property
    def methods(self) -> Collection[str] | None: ...

    @property
    def operation_id(self) -> str | None: ...

    def answer(self, scope: Scope, raw: bytes) -> Answered:
        """Do the operation. Raises the errors of the one tree."""


class Published:
    """The routes of all operations, by the number of their segments. Among routes that fit, the first one counts."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_length: dict[int, list[tuple[_Template, Route]]] = {}
        for route in routes:
            template = tuple(None if part.startswith("{") else part for part in route.path.split("/"))
            self._by_length.setdefault(len(template), []).append((template, route))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route and the parameters in the path, which is percent-decoded. Raises ApiUnknown."""
        segments, has_other_method = path.split("/"), False
        for template, route in self._by_length.get(len(segments), ()):
            if not _fits(template, segments):
                continue
            if method in (route.methods or ()):
                names = route.path.split("/")
                return route, {
                    name[1:-1]: given
                    for name, own, given in zip(names, template, segments, strict=True)
                    if own is None
                }
            has_other_method = True
        if has_other_method:
            raise ApiUnknown("The API does not exist.")
        raise ApiUnknown("The API does not exist or has not been published in the environment.")


def _fits(template: _Template, segments: list[str]) -> bool:
    return all(
        own == given or (own is None and given != "") for own, given in zip(template, segments, strict=True)
    )
