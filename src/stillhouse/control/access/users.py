"""Users, who log in by password to get a token."""

import re
import secrets
from collections.abc import Sequence

from stillhouse.catalog.access import passwords, users
from stillhouse.control.access import permissions
from stillhouse.control.audit import audited
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.domain.access.permissions import FULL_ACCESS
from stillhouse.domain.access.policy_document import Attached
from stillhouse.domain.access.users import User
from stillhouse.domain.ids import is_project_id, new_hex
from stillhouse.errors import InvalidInput, NotFound

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.@-]{0,63}")


def create_user(
    context: CatalogContext,
    project: str,
    name: str,
    password: str = "",
    policies: Sequence[Attached] = (FULL_ACCESS,),
) -> str:
    """Make a user and return the password, which is drawn at random if the caller gives no password."""
    password = password or secrets.token_urlsafe(24)
    # Hashed outside the transaction, which on SQLite holds up all other writers.
    password_hash = passwords.hash_password(password)
    with audited(context, project, "CreateUser", name) as transaction:
        if not is_project_id(project):
            raise InvalidInput("a project id is 32 lower-case hexadecimal digits")
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                "a user's name begins with a letter and has up to 64 letters, digits, '_', '.', '@', '-'"
            )
        if not (12 <= len(password) <= 128 and password.isprintable()):
            raise InvalidInput("a password has 12 to 128 printable characters")
        permissions.check_attached(transaction, policies)
        now = context.clock.now()
        users.insert_user(
            transaction, User(new_hex(), project, name, password_hash, tuple(policies), created=now)
        )
    return password


def list_users(context: CatalogContext, project: str = "") -> list[User]:
    """List users, the disabled ones too; the oldest first."""
    with context.database.reading() as reading:
        return users.list_users(reading, project)


def disable_user(context: CatalogContext, project: str, name: str) -> None:
    """Disable the user for good, and with them their tokens and the temporary keys made by them."""
    with audited(context, project, "DisableUser", name) as transaction:
        if not users.disable_user(transaction, project, name, context.clock.now()):
            raise NotFound("the project has no such user in use")
