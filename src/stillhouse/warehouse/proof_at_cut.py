"""The comparison of a clone with the fingerprints that were taken of its source at the cut."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from stillhouse.domain.cluster import Node
from stillhouse.errors import ProofFailed
from stillhouse.postgres import session
from stillhouse.warehouse.proof_tables import SETTINGS, list_relations, read_rows

# Of a manifest: docs/format.md, section 5.
TableLine = Mapping[str, Any]


@dataclass
class Compared:
    """`findings` are what is not alike, `left_out` the tables without a fingerprint and why; `tables` were compared."""

    findings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    tables: int = 0
    rows: int = 0


def compare_at_cut(
    node: Node, databases: Iterable[str], tables: Iterable[TableLine], go_on: Callable[[], None]
) -> Compared:
    """`tables` come database by database, those of `databases` alone. `go_on` is asked before each table is read."""
    compared = Compared()
    missing = set(databases)
    with session.refusing_as(ProofFailed, node):
        for database, lines in groupby(tables, lambda line: str(line["database"])):
            missing.discard(database)
            _compare_database(node, database, lines, compared, go_on)
        for database in sorted(missing):  # one without any table
            _compare_database(node, database, (), compared, go_on)
    return compared


def _compare_database(
    node: Node, database: str, lines: Iterable[TableLine], compared: Compared, go_on: Callable[[], None]
) -> None:
    expected = {(line["schema"], line["name"]): line for line in lines}
    where = f"{node.name}: {database}"
    with closing(
        session.connect(
            node, database, autocommit=False, application_name="stillhouse proof", settings=SETTINGS
        )
    ) as connection:
        for relation in list_relations(connection):
            if relation.kind == "S":
                continue
            go_on()
            line = expected.pop((relation.schema, relation.name), None)
            if line is None:
                compared.findings.append(f"{where}: {relation} was not there")
            elif "left_out" in line:
                compared.left_out.append(f"{where}: {relation}: {line['left_out']}")
            elif not relation.is_populated:
                compared.findings.append(f"{where}: {relation} holds no rows any more")
            else:
                found = read_rows(connection, relation)
                compared.tables += 1
                compared.rows += found.count
                compared.findings += _differences(f"{where}: {relation}", line, found.count, found.digest)
    compared.findings += [f"{where}: {schema}.{name} is missing" for schema, name in sorted(expected)]


def _differences(what: str, line: TableLine, count: int, digest: str) -> Iterator[str]:
    if count != line["rows"]:
        yield f"{what} has {count} rows, not {line['rows']}"
    elif digest != line["digest"]:
        yield f"{what} holds other rows"
