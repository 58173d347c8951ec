"""Secrets sealed in the database: access keys, and passwords on their way to a cluster.

The database file alone must not reveal them.
"""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, insert, or_, select, update

from stillhouse.catalog.schema.access_tables import access_keys, sealed_secrets, temporary_keys
from stillhouse.catalog.schema.database import Transaction
from stillhouse.domain.access.permissions import FULL_ACCESS
from stillhouse.domain.access.policy_document import Attached
from stillhouse.sealing import Sealer


@dataclass(frozen=True)
class AccessKey:
    """A pair that signs requests acts for this project, until `expires` if that is set."""

    access_key: str
    secret_key: str = field(repr=False)
    project: str
    policies: tuple[Attached, ...] = (FULL_ACCESS,)
    expires: datetime | None = None


@dataclass(frozen=True)
class KeyFacts:
    """The facts about an access key that may be shown."""

    access_key: str
    project: str
    policies: tuple[Attached, ...]
    created: datetime
    expires: datetime | None
    disabled: datetime | None


@dataclass(frozen=True)
class TemporaryKey:
    """A pair made by `parent`, an access key or a user's id. It is valid with its token until it expires."""

    access_key: str
    secret_key: str = field(repr=False)
    token_digest: str
    project: str
    parent: str
    expires: datetime
    # The document limits the parent's permissions; empty means all of them.
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
    """The pair, unless it is unknown, disabled or expired."""
    row = transaction.execute(_key_in_use(), {"key": access_key, "now": now}).one_or_none()
    if row is None:
        return None
    secret = sealer.unseal(row.sealed_secret, _access_key_row(access_key))
    return AccessKey(access_key, secret, row.project, tuple(row.policies), row.expires)


def list_access_keys(transaction: Transaction, project: str = "") -> list[KeyFacts]:
    """The oldest first, expired and disabled ones too; without a project, the keys of all projects."""
    query = select(access_keys).order_by(access_keys.c.created, access_keys.c.access_key)
    if project:
        query = query.where(access_keys.c.project == project)
    return [_facts(row) for row in transaction.execute(query)]


def let_access_key_end(transaction: Transaction, access_key: str, now: datetime, end: datetime) -> bool:
    """Set the key's end. False if there is no key in use by that name, or its end was set before."""
    ended = transaction.execute(
        update(access_keys)
        .where(access_keys.c.access_key == access_key, _in_use(now), access_keys.c.expires.is_(None))
        .values(expires=end)
    )
    return ended.rowcount == 1


def disable_access_key(transaction: Transaction, project: str, access_key: str, now: datetime) -> bool:
    """Disable a key. False if the project has no key by that name, or it was disabled before."""
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
    """Add a temporary key. Expired ones are removed at the same time."""
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
    """The pair, unless it is unknown or expired. The caller must check that its parent is still valid."""
    row = transaction.execute(_temporary_key_in_use(), {"key": access_key, "now": now}).one_or_none()
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


@cache
def _key_in_use() -> Select[Any]:
    """Built once: every signed request runs it, and building it costs more than running it."""
    return select(access_keys).where(access_keys.c.access_key == bindparam("key"), _in_use(bindparam("now")))


@cache
def _temporary_key_in_use() -> Select[Any]:
    return select(temporary_keys).where(
        temporary_keys.c.access_key == bindparam("key"), temporary_keys.c.expires > bindparam("now")
    )


def _in_use(now: datetime | ColumnElement[Any]) -> ColumnElement[bool]:
    unended = or_(access_keys.c.expires.is_(None), access_keys.c.expires > now)
    return access_keys.c.disabled.is_(None) & unended


def _facts(row: Row[Any]) -> KeyFacts:
    return KeyFacts(row.access_key, row.project, tuple(row.policies), row.created, row.expires, row.disabled)


def _access_key_row(access_key: str) -> str:
    return f"access_key/{access_key}"


def _secret_row(key: str) -> str:
    return f"secret/{key}"
