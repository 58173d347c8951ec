"""What a restore of tables is asked for: which tables of a snapshot, and what they are to be called in the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TableName:
    """As the server's catalog spells it."""

    schema: str
    table: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class TableRestore:
    """`pairs` are (source in the snapshot, target in the cluster), folded already, defaults filled in."""

    database: str
    pairs: tuple[tuple[TableName, TableName], ...]

    def to_detail(self) -> dict[str, Any]:
        """As an operation's detail holds it: the names are folded by then."""
        return {
            "database": self.database,
            "tables": [
                {
                    "schema": source.schema,
                    "table": source.table,
                    "target_schema": target.schema,
                    "target_table": target.table,
                }
                for source, target in self.pairs
            ],
        }

    @classmethod
    def from_detail(cls, detail: Mapping[str, Any]) -> "TableRestore":
        return cls(
            detail["database"],
            tuple(
                (
                    TableName(one["schema"], one["table"]),
                    TableName(one["target_schema"], one["target_table"]),
                )
                for one in detail["tables"]
            ),
        )
