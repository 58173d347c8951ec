"""Users, who log in by password, and their tokens. Only digests of passwords and tokens are kept."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog.schema.access_tables import tokens, user_name, users
from stillhouse.catalog.schema.database import Transaction, violates
from stillhouse.domain.access.users import Token, User
from stillhouse.errors import NameTaken

# For this time an expired token is still told from one that never existed.
_REMEMBERED = timedelta(days=1)


def insert_user(transaction: Transaction, user: User) -> None:
    row = {
        "id": user.id,
        "project": user.project,
        "name": user.name,
        "password_hash": user.password_hash,
        "policies": list(user.policies),
        "created": user.created,
    }
    try:
        transaction.execute(insert(users), row)
    except IntegrityError as error:
        if violates(error, user_name):
            raise NameTaken(f"the project already has a user named {user.name}") from error
        raise


def find_user(transaction: Transaction, user_id: str) -> User | None:
    """The user, unless unknown or disabled."""
    row = transaction.execute(_user_in_use(), {"user": user_id}).one_or_none()
    return None if row is None else _user(row)


def find_user_by_name(transaction: Transaction, project: str, name: str) -> User | None:
    """The user, unless unknown or disabled."""
    query = select(users).where(users.c.project == project, users.c.name == name, users.c.disabled.is_(None))
    row = transaction.execute(query).one_or_none()
    return None if row is None else _user(row)


def list_users(transaction: Transaction, project: str = "") -> list[User]:
    """The oldest first, disabled ones too; without a project, the users of all projects."""
    query = select(users).order_by(users.c.created, users.c.id)
    if project:
        query = query.where(users.c.project == project)
    return [_user(row) for row in transaction.execute(query)]


def disable_user(transaction: Transaction, project: str, name: str, now: datetime) -> bool:
    """Disable a user. False if the project has no user of that name, or the user was disabled before."""
    disabled = transaction.execute(
        update(users)
        .where(users.c.project == project, users.c.name == name, users.c.disabled.is_(None))
        .values(disabled=now)
    )
    return disabled.rowcount == 1


def insert_token(transaction: Transaction, digest: str, token: Token) -> None:
    """Add a token. Tokens that expired long ago are removed at the same time."""
    transaction.execute(delete(tokens).where(tokens.c.expires <= token.issued - _REMEMBERED))
    row = {
        "digest": digest,
        "user_id": token.user_id,
        "issued": token.issued,
        "expires": token.expires,
    }
    transaction.execute(insert(tokens), row)


def find_token(transaction: Transaction, digest: str) -> Token | None:
    """The token, which may have expired."""
    row = transaction.execute(_token(), {"shown": digest}).one_or_none()
    return None if row is None else Token(row.user_id, row.issued, row.expires)


@cache
def _user_in_use() -> Select[Any]:
    """Built once, as `_token`: every request with a token runs them, and building them costs more than running them."""
    return select(users).where(users.c.id == bindparam("user"), users.c.disabled.is_(None))


@cache
def _token() -> Select[Any]:
    return select(tokens).where(tokens.c.digest == bindparam("shown"))


def _user(row: Row[Any]) -> User:
    return User(
        row.id, row.project, row.name, row.password_hash, tuple(row.policies), row.created, row.disabled
    )
