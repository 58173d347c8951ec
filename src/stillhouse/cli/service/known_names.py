"""Names of clusters and snapshots as parameters, which the completion of a shell asks the service for."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stillhouse.cli.service.client import connected
from stillhouse.cli.terminal.credentials import Access
from stillhouse.errors import StillhouseError

if TYPE_CHECKING:
    from cyclopts.completion import CompletionContext

# A person waits at the keyboard: a service that is slower, or away, completes nothing.
_SECONDS = 2.0
_FLAGS = [field.name for field in fields(Access)]


def _from(kind: str, path: str) -> "Callable[[CompletionContext], list[str]]":
    """Return a completer with the names of the things of this kind that the path lists."""

    def names(context: "CompletionContext") -> list[str]:
        try:
            with connected(_typed(context), _SECONDS) as service:
                return [str(one["name"]) for one in service.call("GET", path)[kind]]
        except StillhouseError:
            return []  # a shell shows no errors amid a line that is being typed

    return names


def _typed(context: "CompletionContext") -> Access:
    """Return the flags that are on the line already. A command on a data directory has only some of them."""
    there = {name: context.get(name) for name in _FLAGS}
    said: dict[str, Any] = {name: value.raw for name, value in there.items() if value and value.raw}
    return Access(**said | {name: Path(said[name]) for name in ("key_file", "ca_file") if name in said})


ClusterName = Annotated[str, Parameter(completer=_from("clusters", "/v1.0/{p}/clusters"))]
SnapshotName = Annotated[
    str, Parameter(completer=_from("snapshots", "/v1.0/{p}/snapshots?limit=500"))  # the newest
]
TrashedName = Annotated[str, Parameter(completer=_from("snapshots", "/stillhouse/v1/{p}/trash"))]
