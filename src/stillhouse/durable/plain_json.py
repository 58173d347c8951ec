"""Serializer for the engine's records of a flow: JSON and our own errors, never pickles.

With pickles, a program that can write the engine's tables could run code in the control plane.
"""

import json
from collections.abc import Iterator
from typing import Any

from dbos import Serializer

from stillhouse.errors import InternalError, StillhouseError


class PlainJson(Serializer):
    """Stores values as JSON, errors of our tree by name, and any other error as an InternalError."""

    def name(self) -> str:
        return "stillhouse_json"

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            return dump({"error": _described(data)})
        return dump({"value": data})

    def deserialize(self, serialized_data: str) -> Any:
        stored = json.loads(serialized_data)
        return _error(**stored["error"]) if "error" in stored else stored["value"]


def dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _described(error: BaseException) -> dict[str, str]:
    if isinstance(error, StillhouseError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"kind": InternalError.__name__, "message": f"{type(error).__name__}: {error}", "hint": ""}


def _error(kind: str, message: str, hint: str) -> StillhouseError:
    known = {error.__name__: error for error in _tree(StillhouseError)}
    error = known.get(kind, InternalError)
    # Bypass the class's own __init__, because a subclass may need arguments that were not stored.
    restored = error.__new__(error)
    StillhouseError.__init__(restored, message, hint=hint)
    return restored


def _tree(root: type[StillhouseError]) -> Iterator[type[StillhouseError]]:
    yield root
    for branch in root.__subclasses__():
        yield from _tree(branch)
