"""JSON objects of a repository: parsed by one rule, so that later programs can add fields (docs/format.md)."""

import json
from typing import Any

from stillhouse.errors import FormatUnknown, RepositoryDamaged

Fields = dict[str, Any]


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
