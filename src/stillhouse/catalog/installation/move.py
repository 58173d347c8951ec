"""A catalog moves to another database, whole or not at all; killed at any moment, the same call completes it.

    1. The target says that the catalog is arriving.      A service on it is refused; the source is at work as before.
    2. All rows are copied in one transaction, while      Nothing, or everything, is there. The source is at work.
       the source is locked against writers.
    3. The source says that it has moved, and whereto.    Now services are refused at both places.
    4. The target says that the catalog is here.

No service works on either meanwhile: the caller holds both.
"""

from datetime import datetime

from stillhouse.catalog.installation import identity, rows
from stillhouse.catalog.installation.identity import Installation, State
from stillhouse.catalog.installation.rows import EngineTables
from stillhouse.catalog.schema.database import Database
from stillhouse.catalog.schema.place import Place
from stillhouse.errors import CatalogNotOurs


def move(
    source: Database, target: Database, place: Place, engine: EngineTables, now: datetime
) -> dict[str, int]:
    """Carry the catalog over to the target, which lies at `place`, and return how many rows each table has.

    Both are migrated, and so are the engine's tables. Raises CatalogNotOurs where the target holds something else.
    """
    with source.reading() as reading:
        whose = identity.find(reading)
    if whose is None:
        raise CatalogNotOurs("the present catalog belongs to no installation", hint="serve from it once")
    if whose.state is State.ARRIVING or (whose.state is State.MOVED and whose.moved_to != place.shown):
        raise CatalogNotOurs(
            f"the present catalog is not at work: {whose.moved_to or 'a move to it has not ended'}"
        )
    if not _announce(target, place, whose, now):
        return {}
    with source.transaction() as here:
        rows.lock(here, engine)
        with target.transaction() as there:
            counts = rows.replace_all(here, there, engine)
        identity.set_state(here, State.MOVED, place.shown)
    with target.transaction() as there:
        identity.set_state(there, State.HERE)
    return counts


def _announce(target: Database, place: Place, whose: Installation, now: datetime) -> bool:
    """Say at the target that the catalog is arriving; False if it is there already."""
    with target.transaction() as there:
        found = identity.find(there)
        if found is None and identity.has_rows(there):
            raise CatalogNotOurs(f"{place.shown} is not empty")
        if found is not None and found.id != whose.id:
            raise CatalogNotOurs(
                f"{place.shown} is the catalog of installation {found.id}, and this is {whose.id}"
            )
        if found is not None and found.state is State.HERE:
            if whose.state is State.MOVED:
                return False
            raise CatalogNotOurs(f"{place.shown} is a catalog of this installation that is at work itself")
        if found is None:
            identity.claim(there, whose.id, now, State.ARRIVING)
        else:
            identity.set_state(there, State.ARRIVING)
    return True
