"""The contents of a cluster's databases, as people ask for them: kinds of names, sizes and settings."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    DATABASE = "DATABASE"
    SCHEMA = "SCHEMA"
    TABLE = "TABLE"
    VIEW = "VIEW"
    FUNCTION = "FUNCTION"


@dataclass(frozen=True)
class SchemaSize:
    """Bytes that a schema takes on each data node, by the node's name."""

    schema: str
    on_nodes: dict[str, int]


@dataclass(frozen=True)
class Setting:
    """A row of pg_settings as the cluster's user sees it.

    Bounds and choices are text, empty if there are no bounds or choices.
    """

    name: str
    value: str
    default: str
    unit: str
    kind: str
    context: str
    bounds: tuple[str, str]
    choices: str
    description: str
