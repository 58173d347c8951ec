"""The catalog alone, beside a running service too: enough for keys, users and the audit log.

It imports neither the workflow engine nor the repository: those were half of the time that `key list` took.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial

from stillhouse.catalog.installation import identity
from stillhouse.catalog.installation.hold import held
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.place import Place, place_of
from stillhouse.clock import SystemClock
from stillhouse.config import Settings
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.postgres.host.account import make_passable
from stillhouse.sealing import Sealer


@contextmanager
def open_catalog(settings: Settings) -> Iterator[CatalogContext]:
    make_passable(settings.data)
    place = place_of(settings.catalog, settings.data)
    with database_at(place, settings) as database:
        if not database.is_sqlite and not database.is_up_to_date():
            # A command of a newer version must not change the schema under a service that is at work.
            with held(database):
                database.migrate()
        yield up_to_date(database, place, settings)


@contextmanager
def database_at(place: Place, settings: Settings) -> Iterator[Database]:
    sealer = cache(partial(Sealer.in_directory, settings.data))
    database = Database.at(place, sealer, settings.catalog_connections)
    try:
        yield database
    finally:
        database.close()


def up_to_date(database: Database, place: Place, settings: Settings) -> CatalogContext:
    """Bring the catalog up to date, and see that it and the data directory belong together."""
    database.migrate()
    clock = SystemClock()
    identity.join(database, place, settings.data, clock.now())
    return CatalogContext(database, Sealer.in_directory(settings.data), clock, settings)
