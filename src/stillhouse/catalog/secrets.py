"""What the database file alone must not give away: access keys, and passwords on their way to a cluster."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import delete, insert, select, update

from stillhouse.catalog.database import Transaction
from stillhouse.catalog.sealing import Sealer
from stillhouse.catalog.tables import access_keys, sealed_secrets


@dataclass(frozen=True)
class AccessKey:
    """Who signs requests with this pair acts for this project."""

    access_key: str
    secret_key: str = field(repr=False)
    project: str


def insert_access_key(transaction: Transaction, sealer: Sealer, key: AccessKey, now: datetime) -> None:
    row = {
        "access_key": key.access_key,
        "sealed_secret": sealer.seal(key.secret_key, _access_key_row(key.access_key)),
        "project": key.project,
        "created": now,
    }
    transaction.execute(insert(access_keys), row)


def find_access_key(transaction: Transaction, sealer: Sealer, access_key: str) -> AccessKey | None:
    """The pair, unless it is unknown or disabled."""
    query = select(access_keys).where(
        access_keys.c.access_key == access_key, access_keys.c.disabled.is_(None)
    )
    row = transaction.execute(query).one_or_none()
    if row is None:
        return None
    secret = sealer.unseal(row.sealed_secret, _access_key_row(access_key))
    return AccessKey(access_key, secret, row.project)


def disable_access_key(transaction: Transaction, project: str, access_key: str, now: datetime) -> bool:
    """False if the project has none such, or it was disabled before."""
    disabled = transaction.execute(
        update(access_keys)
        .where(
            access_keys.c.project == project,
            access_keys.c.access_key == access_key,
            access_keys.c.disabled.is_(None),
        )
        .values(disabled=now)
    )
    return disabled.rowcount == 1


def keep_secret(transaction: Transaction, sealer: Sealer, key: str, secret: str, now: datetime) -> None:
    """Keep a secret for the flow that needs it; that flow erases it."""
    row = {"key": key, "sealed": sealer.seal(secret, _secret_row(key)), "created": now}
    transaction.execute(insert(sealed_secrets), row)


def read_secret(transaction: Transaction, sealer: Sealer, key: str) -> str | None:
    """The secret, or None once it is erased."""
    query = select(sealed_secrets.c.sealed).where(sealed_secrets.c.key == key)
    sealed = transaction.execute(query).scalar_one_or_none()
    return None if sealed is None else sealer.unseal(sealed, _secret_row(key))


def erase_secret(transaction: Transaction, key: str) -> None:
    transaction.execute(delete(sealed_secrets).where(sealed_secrets.c.key == key))


def _access_key_row(access_key: str) -> str:
    return f"access_key/{access_key}"


def _secret_row(key: str) -> str:
    return f"secret/{key}"
