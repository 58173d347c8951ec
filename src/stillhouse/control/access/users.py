"""Users: who log in by password, for a token or to make keys of it."""

import re
import secrets
from collections.abc import Sequence
from functools import cache

from stillhouse.catalog.access import passwords
from stillhouse.catalog.access import users as stored
from stillhouse.control.access import permissions
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.domain.access.permissions import FULL_ACCESS
from stillhouse.domain.access.policy_document import Attached
from stillhouse.domain.access.users import User
from stillhouse.domain.ids import is_project_id, new_hex
from stillhouse.errors import InvalidInput, NotFound, Unauthenticated

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.@-]{0,63}")
_LOCKED = "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden"
_WRONG = "Incorrect IAM authentication information: the user's name or password is wrong"


def create_user(
    control: Control,
    project: str,
    name: str,
    password: str = "",
    policies: Sequence[Attached] = (FULL_ACCESS,),
) -> str:
    """Make a user; returns the password, which is drawn at random where none was given."""
    password = password or secrets.token_urlsafe(24)
    # Not in the transaction, which on SQLite holds up all other writers.
    password_hash = passwords.hash_password(password)
    with audited(control, project, "CreateUser", name) as transaction:
        if not is_project_id(project):
            raise InvalidInput("a project id is 32 lower-case hexadecimal digits")
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                "a user's name begins with a letter and has up to 64 letters, digits, '_', '.', '@', '-'"
            )
        if not (12 <= len(password) <= 128 and password.isprintable()):
            raise InvalidInput("a password has 12 to 128 printable characters")
        permissions.check_attached(transaction, policies)
        now = control.clock.now()
        stored.insert_user(
            transaction, User(new_hex(), project, name, password_hash, tuple(policies), created=now)
        )
    return password


def list_users(control: Control, project: str = "") -> list[User]:
    """The oldest first, the disabled too."""
    with control.database.reading() as reading:
        return stored.list_users(reading, project)


def disable_user(control: Control, project: str, name: str) -> None:
    """For good, and with them their tokens and the temporary keys made by them."""
    with audited(control, project, "DisableUser", name) as transaction:
        if not stored.disable_user(transaction, project, name, control.clock.now()):
            raise NotFound("the project has no such user in use")


def log_in(control: Control, password: str, *, user_id: str = "", project: str = "", name: str = "") -> User:
    """The user of this id, or of this name in the project. Raises Unauthenticated.

    Whether there is such a user shows neither in the answer, nor in the time it takes, nor in a lock.
    """
    subject = (user_id, project, name, control.caller.address)
    who = f"user/{name or user_id}" if _NAME.fullmatch(name or user_id) else ""
    if control.user_lockouts.is_locked(subject, control.clock.monotonic()):
        raise Unauthenticated(_LOCKED, who=who)
    with control.database.reading() as reading:
        by_name = None if user_id else stored.find_user_by_name(reading, project, name)
        user = by_name or stored.find_user(reading, user_id)
    is_right = passwords.is_password(password, _nobody() if user is None else user.password_hash)
    # Of guesses sent all at once, those that end after the lock has fallen tell nothing.
    if control.user_lockouts.is_locked(subject, control.clock.monotonic()):
        raise Unauthenticated(_LOCKED, who=who)
    if user is None or not is_right:
        control.user_lockouts.failed(subject, control.clock.monotonic())
        raise Unauthenticated(_WRONG, who=who)
    control.user_lockouts.succeeded(subject)
    return user


@cache
def _nobody() -> str:
    """What a password is compared with where there is no user."""
    return passwords.hash_password(secrets.token_hex(16))
