"""Moves the catalog of a data directory to another place, by `catalog/installation/move.py`.

The service must be stopped. It drains as it ends, and flows that have not ended go on at the new place.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial

from stillhouse.catalog.installation import identity, move
from stillhouse.catalog.installation.hold import held
from stillhouse.catalog.installation.rows import EngineTables
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.place import Place, place_of
from stillhouse.clock import SystemClock
from stillhouse.config import Settings
from stillhouse.data_lock import lock_data_directory
from stillhouse.durable import engine_tables
from stillhouse.durable.flows import Flows
from stillhouse.errors import InvalidInput
from stillhouse.sealing import Sealer

_ENGINE = EngineTables(engine_tables.SCHEMA, engine_tables.TABLES)


@dataclass(frozen=True)
class Moved:
    """The places, and how many rows each table has; none if the catalog was there already."""

    source: Place
    target: Place
    rows: Mapping[str, int]


def move_catalog(settings: Settings, to: str) -> Moved:
    """Move the catalog that the settings name. Raises DataDirectoryInUse or CatalogInUse while a service works on it.

    If it is killed and called again, the result is the same.
    """
    data = settings.data
    source, target = place_of(settings.catalog, data), place_of(to, data)
    if source == target:
        raise InvalidInput(f"the catalog is at {source.shown} already, as STILLHOUSE_CATALOG says")
    if not (data / identity.ID_FILE).exists():
        raise InvalidInput(f"{data} holds no installation", hint="see --data")
    with ExitStack() as stack:
        stack.enter_context(lock_data_directory(data))
        here, there = (stack.enter_context(_held(one, settings)) for one in (source, target))
        rows = move.move(here, there, target, _ENGINE, SystemClock().now())
        identity.note_place(target, data)
    return Moved(source, target, rows)


@contextmanager
def _held(place: Place, settings: Settings) -> Iterator[Database]:
    """Open a catalog that no service works on, with our tables and the engine's up to date."""
    sealer = partial(Sealer.in_directory, settings.data)
    with closing(Database.at(place, sealer, settings.catalog_connections)) as database, held(database):
        database.migrate()
        Flows(database.url, after_commit).prepare()
        yield database
