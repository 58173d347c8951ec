"""Close the ways out of a clone: its foreign servers point nowhere before anything else happens in it.

A parked server keeps its own options under names that no wrapper knows, so they survive even if we fail. Catalog rows
are changed as rows, so no wrapper's validator and no event trigger interferes.
"""

from contextlib import closing, suppress

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import databases_of, enter

# libpq takes a host that begins with a slash as the directory of a socket, and a device can hold no socket.
_NOWHERE = "ARRAY['host=/dev/null/stillhouse', 'port=1']"
_PREFIX = "stillhouse_parked_"

_IS_PARKED = f"""
    coalesce(s.srvoptions[1:2] = {_NOWHERE}
             AND NOT EXISTS (SELECT FROM unnest(s.srvoptions[3:]) o WHERE NOT starts_with(o, '{_PREFIX}')), false)
"""
OWN_OPTIONS = f"""
    CASE WHEN {_IS_PARKED}
         THEN (SELECT array_agg(substr(o, {len(_PREFIX) + 1}) ORDER BY place)
                 FROM unnest(s.srvoptions[3:]) WITH ORDINALITY AS own(o, place))
         ELSE s.srvoptions END
"""
"""SQL: the options (text[]) that a row `s` of pg_foreign_server has when the server is not parked."""

_PARK = f"""
    UPDATE pg_catalog.pg_foreign_server s
       SET srvoptions = {_NOWHERE} || ARRAY(SELECT '{_PREFIX}' || o
                                              FROM unnest(s.srvoptions) WITH ORDINALITY AS own(o, place) ORDER BY place)
     WHERE NOT {_IS_PARKED}
"""
_UNPARK = f"UPDATE pg_catalog.pg_foreign_server s SET srvoptions = {OWN_OPTIONS} WHERE {_IS_PARKED}"
UNPARK_ONE = f"{_UNPARK} AND s.oid = %s"
_SILENCE = "UPDATE pg_catalog.pg_event_trigger SET evtenabled = 'D' WHERE evtenabled <> 'D'"


def park(node: Node) -> None:
    """Park every server of every database that can be entered. A second call changes nothing. Raises RestoreFailed."""
    _everywhere(node, _PARK)


def unpark(node: Node) -> None:
    """Give all parked servers their own options back. Raises RestoreFailed."""
    _everywhere(node, _UNPARK)


def silence(node: Node) -> None:
    """Disable all event triggers of a clone that will be thrown away, since we do DDL in it. Raises RestoreFailed."""
    _everywhere(node, _SILENCE)


def _everywhere(node: Node, command: str) -> None:
    with session.refusing_as(RestoreFailed, node):
        for database in databases_of(node):
            with (
                suppress(DatabaseClosed),
                closing(enter(node, database, application_name="stillhouse quarantine")) as connection,
            ):
                connection.execute(command.encode())
