"""A request of a person who is signed in, and the kinds of answers to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stillhouse.control.access import permissions
from stillhouse.control.access.sessions import Session
from stillhouse.control.context import Control
from stillhouse.errors import InvalidInput, NotPermitted, StillhouseError

_MOST_PAGES = 1_000_000


@dataclass(frozen=True)
class Visit:
    """`control` acts for the session's holder. `named` are the ids in the path: `cluster`, `snapshot`.

    `problem` is the refusal of the form that was sent last from this page, to be shown on it.
    """

    control: Control
    session: Session
    path: str
    named: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    problem: StillhouseError | None = None

    @property
    def project(self) -> str:
        return self.session.caller.project

    def demand(self, *operations: str) -> None:
        """Raise NotPermitted unless the caller may do these operations of the API to the things in the path."""
        for one in operations:
            permissions.demand_for_path(
                self.control, one, self.named.get("cluster"), self.named.get("snapshot")
            )

    def may(self, *operations: str) -> bool:
        try:
            self.demand(*operations)
        except NotPermitted:
            return False
        return True

    def page_number(self) -> int:
        """Return the number of the page of a list that is asked for, from 1."""
        text = self.query.get("page", "1")
        if not (text.isascii() and text.isdigit() and 0 < len(text) <= 7 and 0 < int(text) <= _MOST_PAGES):
            raise InvalidInput("a page's number is from 1 to 1000000")
        return int(text)


@dataclass(frozen=True)
class Page:
    """A template, and the values that it shows."""

    template: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class PageRoute:
    """A page. Its caller must be permitted to do the `operations` of the API that read the same."""

    path: str
    operations: tuple[str, ...]
    show: Callable[[Visit], Page]


@dataclass(frozen=True)
class ActionRoute:
    """A form that is sent. It does one operation of the API, and returns the place to go to then.

    If it is refused, `page` is shown with the refusal; its path is the action's without the last part.
    """

    path: str
    operation: str
    do: Callable[[Visit], str]
    page: Callable[[Visit], Page]


@dataclass(frozen=True)
class LiveRoute:
    """The parts of a page that change while somebody looks at it: templates by name, over values that are read anew."""

    path: str
    operations: tuple[str, ...]
    read: Callable[[Visit], Mapping[str, Any]]
    parts: Mapping[str, str]
