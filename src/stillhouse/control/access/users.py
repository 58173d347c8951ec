"""Users, who log in by password to get a token."""

import re
import secrets
from collections.abc import Sequence
from functools import cache

from stillhouse.catalog.access import passwords, users
from stillhouse.control.access import permissions
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.domain.access.permissions import FULL_ACCESS
from stillhouse.domain.access.policy_document import Attached
from stillhouse.domain.access.senders import sender_of
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
    """Make a user and return the password, which is drawn at random if the caller gives no password."""
    password = password or secrets.token_urlsafe(24)
    # Hashed outside the transaction, which on SQLite holds up all other writers.
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
        users.insert_user(
            transaction, User(new_hex(), project, name, password_hash, tuple(policies), created=now)
        )
    return password


def list_users(control: Control, project: str = "") -> list[User]:
    """List users, the disabled ones too; the oldest first."""
    with control.database.reading() as reading:
        return users.list_users(reading, project)


def disable_user(control: Control, project: str, name: str) -> None:
    """Disable the user for good, and with them their tokens and the temporary keys made by them."""
    with audited(control, project, "DisableUser", name) as transaction:
        if not users.disable_user(transaction, project, name, control.clock.now()):
            raise NotFound("the project has no such user in use")


def log_in(control: Control, password: str, *, user_id: str = "", project: str = "", name: str = "") -> User:
    """Find the user of this id, or of this name in the project, by their password.

    Failures count for the user that was found, by whatever spelling. Neither the answer, nor the time it takes, nor a
    lock shows whether the user exists. To be called in the threads of `password_checks`. Raises Unauthenticated.
    """
    with control.database.reading() as reading:
        by_name = None if user_id else users.find_user_by_name(reading, project, name)
        user = by_name or users.find_user(reading, user_id)
    sender = sender_of(control.caller.address)
    if user is not None:
        lockouts, who = control.user_lockouts, f"user/{user.name}"
        subject: tuple[str, ...] = (user.id, sender)
    else:  # the record must not look like that of a user, who has sent nothing
        lockouts = control.invented_lockouts
        subject = ("id", user_id, sender) if user_id else ("name", project, name, sender)
        who = "unknown/" + (name or user_id)[:64]
    if lockouts.is_locked(subject, control.clock.monotonic()):
        raise Unauthenticated(_LOCKED, who=who)
    password_hash = _nobody() if user is None else user.password_hash
    is_right = passwords.is_password(password, password_hash)
    # When many guesses are sent at once, the answers after the lock has closed tell nothing.
    if lockouts.is_locked(subject, control.clock.monotonic()):
        raise Unauthenticated(_LOCKED, who=who)
    if user is None or not is_right:
        lockouts.failed(subject, control.clock.monotonic())
        raise Unauthenticated(_WRONG, who=who)
    lockouts.succeeded(subject)
    return user


@cache
def _nobody() -> str:
    """Return the hash that a password is compared with if there is no user."""
    return passwords.hash_password(secrets.token_hex(16))
