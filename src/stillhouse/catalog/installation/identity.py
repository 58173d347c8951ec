"""A data directory and its catalog belong to one installation: both carry its id, and neither works with another's.

Beside the id the directory keeps the place of a catalog on a server. So neither a new database by mistake, nor a new
file by a setting that was forgotten, passes for a catalog without clusters.
"""

import secrets
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from sqlalchemy import func, insert, select, update

from stillhouse import atomic_file
from stillhouse.catalog.schema.database import Database, Transaction
from stillhouse.catalog.schema.place import FILE_NAME, Place
from stillhouse.catalog.schema.tables import installation, metadata
from stillhouse.errors import CatalogNotOurs

ID_FILE = "installation"
ELSEWHERE_FILE = "catalog.at"


class State(StrEnum):
    """Whether the catalog is at work here, is still being carried here, or was carried away."""

    HERE = "HERE"
    ARRIVING = "ARRIVING"
    MOVED = "MOVED"


@dataclass(frozen=True)
class Installation:
    """`served_by` is the service that took hold of the catalog last; `moved_to` is the place where it is by now.

    `repository` is the id of its repository. `sealed_key` is the key of secrets, sealed under the KEK of id `kek`. All
    three are empty until a service has served from the catalog.
    """

    id: str
    state: State
    moved_to: str
    served_by: str
    repository: str
    kek: str
    sealed_key: str


def find(transaction: Transaction) -> Installation | None:
    """Return the installation, or `None` if the catalog is new, or of a version that knew no such row."""
    row = transaction.execute(
        select(*(installation.c[field.name] for field in fields(Installation)))
    ).one_or_none()
    return None if row is None else Installation(**row._asdict() | {"state": State(row.state)})


def claim(transaction: Transaction, id_: str, now: datetime, state: State = State.HERE) -> Installation:
    """Make the catalog the installation's. It must have none."""
    claimed = Installation(id_, state, moved_to="", served_by="", repository="", kek="", sealed_key="")
    transaction.execute(insert(installation).values(asdict(claimed) | {"created": now}))
    return claimed


def set_state(transaction: Transaction, state: State, moved_to: str = "") -> None:
    transaction.execute(update(installation).values(state=state, moved_to=moved_to))


def set_server(transaction: Transaction, served_by: str) -> None:
    transaction.execute(update(installation).values(served_by=served_by))


def keep(transaction: Transaction, repository: str, kek: str, sealed_key: str) -> None:
    transaction.execute(update(installation).values(repository=repository, kek=kek, sealed_key=sealed_key))


def join(database: Database, place: Place, data: Path, now: datetime) -> str:
    """Return the id of the installation that the data directory and its catalog belong to; both are new at first.

    Raises CatalogNotOurs unless the two belong together, and the catalog is at work here.
    """
    _check_place(place, data)
    with database.reading() as reading:
        known = find(reading)
    file = data / ID_FILE
    if known is None or (place.is_file and not file.exists()):
        known = _begin(database, place, data, now)
    if not file.exists() or (ours := file.read_text().strip()) != known.id:
        whose = f"that of installation {ours}" if file.exists() else "a new one"
        raise CatalogNotOurs(
            f"the catalog {place.shown} belongs to installation {known.id}, and {data} is {whose}",
            hint="give the data directory that belongs to the catalog, or set STILLHOUSE_CATALOG to the right one; on a"
            " new host, begin with a copy of the KEK (docs/catalog.md)",
        )
    _check_state(known, place)
    note_place(place, data)
    return known.id


def note_place(place: Place, data: Path) -> None:
    """Note the place of the installation's catalog beside its id."""
    note = data / ELSEWHERE_FILE
    if place.is_file:
        note.unlink(missing_ok=True)
    elif not note.exists() or note.read_text().strip() != place.shown:
        atomic_file.replace(note, f"{place.shown}\n".encode())


def _begin(database: Database, place: Place, data: Path, now: datetime) -> Installation:
    """Join a new directory or a new catalog to the other."""
    note, file = data / ELSEWHERE_FILE, data / ID_FILE
    before = note.read_text().strip() if note.exists() else str(data / FILE_NAME)
    if not place.is_file and (note.exists() or (data / FILE_NAME).exists()):
        raise CatalogNotOurs(
            f"the catalog {place.shown} is empty, and that of this installation was {before}",
            hint="`stillhouse catalog move` carries it over",
        )
    with database.transaction() as transaction:
        known = find(transaction)
        if not file.exists():
            atomic_file.create(file, (known.id if known else secrets.token_hex(4)).encode())
        return known or claim(transaction, file.read_text().strip(), now)


def _check_place(place: Place, data: Path) -> None:
    note = data / ELSEWHERE_FILE
    if place.is_file and note.exists():
        raise CatalogNotOurs(
            f"the catalog of this installation is {note.read_text().strip()}",
            hint=f"set STILLHOUSE_CATALOG; if that catalog is lost, remove {note} to begin with {place.shown}",
        )


def check_here(reading: Transaction) -> None:
    """Raise CatalogNotOurs if the catalog has moved since it was joined."""
    known = find(reading)
    if known is None or known.state is not State.HERE:
        raise CatalogNotOurs(
            f"the catalog has moved{f' to {known.moved_to}' if known and known.moved_to else ''}",
            hint="set STILLHOUSE_CATALOG to its new place",
        )


def _check_state(known: Installation, place: Place) -> None:
    if known.state is State.MOVED:
        raise CatalogNotOurs(
            f"the catalog {place.shown} has moved to {known.moved_to}", hint="set STILLHOUSE_CATALOG to that"
        )
    if known.state is State.ARRIVING:
        raise CatalogNotOurs(
            f"the move to {place.shown} has not ended", hint="run the same `stillhouse catalog move` again"
        )


def has_rows(transaction: Transaction) -> bool:
    """Tell whether a catalog without an installation holds something all the same."""
    return any(
        transaction.execute(select(func.count()).select_from(table)).scalar_one()
        for table in metadata.sorted_tables
        if table is not installation
    )
