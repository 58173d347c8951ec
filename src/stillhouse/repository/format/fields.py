"""JSON objects of a repository: parsed by one rule, so that later programs can add fields (docs/format.md)."""

import json
from collections.abc import Mapping
from typing import Any

from stillhouse.domain.object_kinds import MOST_LINE
from stillhouse.errors import FormatUnknown, ObjectTooLarge, RepositoryDamaged

Fields = dict[str, Any]

# The fields of a line that tell people which one it is.
_TELLING = ("t", "path", "path_b64", "id", "key", "node", "database", "name")


def parse(name: str, text: bytes) -> Fields:
    """Parse a JSON object. Raises RepositoryDamaged, naming the object, for anything that this program may not read."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise RepositoryDamaged(f"{name} is not JSON") from None
    if not isinstance(fields, dict):
        raise RepositoryDamaged(f"{name} is not a JSON object")
    # An unknown field is ignored, unless its author forbade that by an initial capital.
    if critical := [field for field in fields if field[:1].isupper()]:
        raise FormatUnknown(f"{name} needs a newer program: it holds {critical[0]!r}")
    return fields


def encode_line(fields: Mapping[str, Any]) -> bytes:
    """Encode a line of an object of JSON lines. Raises ObjectTooLarge if readers would refuse its length."""
    line = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
    if len(line) > MOST_LINE:
        name = " ".join(str(fields[name])[:500] for name in _TELLING if name in fields)
        raise ObjectTooLarge(
            f"the line {name!r} would have {len(line)} bytes, and readers accept {MOST_LINE}"
        )
    return line
