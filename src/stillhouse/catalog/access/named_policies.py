"""Named policy documents, shared by all projects; made and removed, never changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog.schema.access_tables import permission_policies
from stillhouse.catalog.schema.database import Transaction
from stillhouse.errors import NameTaken


@dataclass(frozen=True)
class NamedPolicy:
    name: str
    document: dict[str, Any]
    created: datetime


def insert_policy(transaction: Transaction, policy: NamedPolicy) -> None:
    row = {"name": policy.name, "document": policy.document, "created": policy.created}
    try:
        transaction.execute(insert(permission_policies), row)
    except IntegrityError as error:
        raise NameTaken(f"there is a policy named {policy.name} already") from error


def find_policy(transaction: Transaction, name: str) -> NamedPolicy | None:
    query = select(permission_policies).where(permission_policies.c.name == name)
    row = transaction.execute(query).one_or_none()
    return None if row is None else NamedPolicy(row.name, row.document, row.created)


def list_policies(transaction: Transaction) -> list[NamedPolicy]:
    query = select(permission_policies).order_by(permission_policies.c.name)
    return [NamedPolicy(row.name, row.document, row.created) for row in transaction.execute(query)]


def delete_policy(transaction: Transaction, name: str) -> bool:
    """Delete a policy. False if there is no policy of that name."""
    deleted = transaction.execute(delete(permission_policies).where(permission_policies.c.name == name))
    return deleted.rowcount == 1
