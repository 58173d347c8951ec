"""Requests about the content of a cluster's databases. Its servers are asked each time; nothing is kept."""

from collections.abc import Sequence

from stillhouse.control.context import Control
from stillhouse.control.lookup import answering_cluster, check_may_ask
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.names import LONGEST_IDENTIFIER
from stillhouse.domain.reports.contents import Kind, SchemaSize, Setting
from stillhouse.errors import DatabaseUnknown, InvalidInput
from stillhouse.warehouse.cluster import contents

_DEFAULT_SCHEMA = "public"


def validate_schemas(
    control: Control, project: str, cluster_id: str, database: str, asked: Sequence[str]
) -> list[str]:
    """Return the names that are schemas of the database, in the given order."""
    cluster = _answering(control, project, cluster_id)
    _check_name(database, "database")
    return contents.existing_schemas(cluster.coordinator, database, asked)


def validate_tables(
    control: Control, project: str, cluster_id: str, database: str, asked: Sequence[str]
) -> list[str]:
    """Return the names that are tables. `schema.table` is split at its first dot; the default schema is public."""
    cluster = _answering(control, project, cluster_id)
    _check_name(database, "database")
    split = {name: _schema_and_table(name) for name in asked}
    present = contents.existing_tables(cluster.coordinator, database, list(split.values()))
    return [name for name in asked if split[name] in present]


def list_objects(
    control: Control, project: str, cluster_id: str, kind: Kind, *, database: str | None, schema: str | None
) -> list[str]:
    if kind is not Kind.DATABASE and database is None:
        raise InvalidInput(f"database must say where to look for objects of type {kind}")
    cluster = _answering(control, project, cluster_id)
    _check_name(database or "", "database")
    return contents.list_names(cluster.coordinator, kind, database or "", schema)


def schema_sizes(control: Control, project: str, cluster_id: str, database: str) -> list[SchemaSize]:
    """Return the sizes of a database's schemas; an empty list for a missing database, as in DWS's answer here."""
    cluster = _answering(control, project, cluster_id)
    _check_name(database, "database")
    try:
        return contents.schema_sizes(cluster, database)
    except DatabaseUnknown:
        return []


def settings_by_role(control: Control, project: str, cluster_id: str) -> dict[str, list[Setting]]:
    """Return the settings of a coordinator and of a data node, by role."""
    cluster = _answering(control, project, cluster_id)
    return {
        node.role.value: contents.settings_of(node, cluster.user_name) for node in contents.roles_of(cluster)
    }


def _answering(control: Control, project: str, cluster_id: str) -> Cluster:
    with control.database.reading() as reading:
        cluster = answering_cluster(reading, project, cluster_id)
    check_may_ask(control, cluster)
    return cluster


def _schema_and_table(name: str) -> tuple[str, str]:
    schema, dot, table = name.partition(".")
    return (schema, table) if dot else (_DEFAULT_SCHEMA, name)


def _check_name(name: str, what: str) -> None:
    if "\0" in name or len(name.encode(errors="surrogatepass")) > LONGEST_IDENTIFIER:
        raise InvalidInput(f"{what} must be at most {LONGEST_IDENTIFIER} bytes, without the character NUL")
