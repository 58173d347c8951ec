"""What the database file alone must not give away: access keys, and passwords on their way to a cluster."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, or_, select, update

from stillhouse.catalog.database import Transaction
from stillhouse.catalog.tables import access_keys, sealed_secrets, temporary_keys
from stillhouse.domain.permissions import FULL_ACCESS
from stillhouse.sealing import Sealer

# A policy by its name, or a document of the holder's own.
Attached = str | dict[str, Any]


@dataclass(frozen=True)
class AccessKey:
    """Who signs requests with this pair acts for this project, until `expires` if that is set."""

    access_key: str
    secret_key: str = field(repr=False)
    project: str
    policies: tuple[Attached, ...] = (FULL_ACCESS,)
    expires: datetime | None = None


@dataclass(frozen=True)
class KeyFacts:
    """What may be told of an access key."""

    access_key: str
    project: str
    policies: tuple[Attached, ...]
    created: datetime
    expires: datetime | None
    disabled: datetime | None


@dataclass(frozen=True)
class TemporaryKey:
    """A pair that `parent`, an access key or a user's id, made; good with its token until it expires."""

    access_key: str
    secret_key: str = field(repr=False)
    token_digest: str
    project: str
    parent: str
    expires: datetime
    # Of its parent's permissions only what this document allows; empty = all of them.
    narrowed_to: dict[str, Any] = field(default_factory=dict)


def insert_access_key(transaction: Transaction, sealer: Sealer, key: AccessKey, now: datetime) -> None:
    row = {
        "access_key": key.access_key,
        "sealed_secret": sealer.seal(key.secret_key, _access_key_row(key.access_key)),
        "project": key.project,
        "created": now,
        "policies": list(key.policies),
        "expires": key.expires,
    }
    transaction.execute(insert(access_keys), row)


def find_access_key(
    transaction: Transaction, sealer: Sealer, access_key: str, now: datetime
) -> AccessKey | None:
    """The pair, unless it is unknown, disabled or past its end."""
    query = select(access_keys).where(access_keys.c.access_key == access_key, _in_use(now))
    row = transaction.execute(query).one_or_none()
    if row is None:
        return None
    secret = sealer.unseal(row.sealed_secret, _access_key_row(access_key))
    return AccessKey(access_key, secret, row.project, tuple(row.policies), row.expires)


def list_access_keys(transaction: Transaction, project: str = "") -> list[KeyFacts]:
    """The oldest first, those out of use too; without a project those of all."""
    query = select(access_keys).order_by(access_keys.c.created, access_keys.c.access_key)
    if project:
        query = query.where(access_keys.c.project == project)
    return [_facts(row) for row in transaction.execute(query)]


def let_access_key_end(transaction: Transaction, access_key: str, now: datetime, end: datetime) -> bool:
    """False if there is none such in use, or its end was set before."""
    ended = transaction.execute(
        update(access_keys)
        .where(access_keys.c.access_key == access_key, _in_use(now), access_keys.c.expires.is_(None))
        .values(expires=end)
    )
    return ended.rowcount == 1


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


def insert_temporary_key(transaction: Transaction, sealer: Sealer, key: TemporaryKey, now: datetime) -> None:
    """Those past their end go at this opportunity."""
    transaction.execute(delete(temporary_keys).where(temporary_keys.c.expires <= now))
    row = {
        "access_key": key.access_key,
        "sealed_secret": sealer.seal(key.secret_key, _access_key_row(key.access_key)),
        "token_digest": key.token_digest,
        "project": key.project,
        "parent": key.parent,
        "narrowed_to": key.narrowed_to,
        "created": now,
        "expires": key.expires,
    }
    transaction.execute(insert(temporary_keys), row)


def find_temporary_key(
    transaction: Transaction, sealer: Sealer, access_key: str, now: datetime
) -> TemporaryKey | None:
    """The pair, unless it is unknown or past its end; whether its parent is still good is not looked at."""
    query = select(temporary_keys).where(
        temporary_keys.c.access_key == access_key, temporary_keys.c.expires > now
    )
    row = transaction.execute(query).one_or_none()
    if row is None:
        return None
    secret = sealer.unseal(row.sealed_secret, _access_key_row(access_key))
    return TemporaryKey(
        access_key, secret, row.token_digest, row.project, row.parent, row.expires, row.narrowed_to
    )


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


def _in_use(now: datetime) -> ColumnElement[bool]:
    unended = or_(access_keys.c.expires.is_(None), access_keys.c.expires > now)
    return access_keys.c.disabled.is_(None) & unended


def _facts(row: Row[Any]) -> KeyFacts:
    return KeyFacts(row.access_key, row.project, tuple(row.policies), row.created, row.expires, row.disabled)


def _access_key_row(access_key: str) -> str:
    return f"access_key/{access_key}"


def _secret_row(key: str) -> str:
    return f"secret/{key}"
