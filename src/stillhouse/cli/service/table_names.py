"""Translates names of tables from the command line into the API's form."""

from collections.abc import Sequence
from typing import Any

from stillhouse.errors import InvalidInput

_DEFAULT_SCHEMA = "public"


def wanted_tables(words: Sequence[str]) -> dict[str, Any]:
    """Parse words of the form `schema.table[=schema.table]`, split at the first dot; the default schema is public.

    A target that is not given is left to the service. Raises InvalidInput where a name is empty.
    """
    if not words:
        raise InvalidInput("no table is named", hint="name them as schema.table")
    sources, targets = [], []
    for word in words:
        source, equals, target = word.partition("=")
        sources.append(_named(source, word))
        targets.append(_named(target, word) if equals else {"schema_name": "", "table_name": ""})
    return {"restore_table_list": sources, "target_table_list": targets}


def _named(name: str, word: str) -> dict[str, str]:
    schema, dot, table = name.partition(".")
    if not dot:
        schema, table = _DEFAULT_SCHEMA, name
    if not schema or not table:
        raise InvalidInput(
            f"{word[:64]} names no table", hint="give schema.table, or schema.table=schema.table"
        )
    return {"schema_name": schema, "table_name": table}
