"""Logins by password, and by an access key's secret, with the lock-out of guessers."""

import hmac
import secrets
from functools import cache

from stillhouse.catalog.access import passwords, users
from stillhouse.control.access.callers import find_signer
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control
from stillhouse.domain.access.senders import sender_of
from stillhouse.domain.access.users import User
from stillhouse.errors import Unauthenticated

_LOCKED = "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden"
_WRONG = "Incorrect IAM authentication information: the user's name or password is wrong"
_WRONG_KEY = "the access key or its secret is wrong"


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
    if lockouts.is_locked(subject, control.clock):
        raise Unauthenticated(_LOCKED, who=who)
    password_hash = _nobody() if user is None else user.password_hash
    is_right = passwords.is_password(password, password_hash)
    # When many guesses are sent at once, the answers after the lock has closed tell nothing.
    if lockouts.is_locked(subject, control.clock):
        raise Unauthenticated(_LOCKED, who=who)
    if user is None or not is_right:
        lockouts.failed(subject, control.clock)
        raise Unauthenticated(_WRONG, who=who)
    lockouts.succeeded(subject)
    return user


def log_in_by_key(control: Control, access_key: str, secret_key: str) -> Caller:
    """Find the holder of a lasting access key by its secret. Raises Unauthenticated.

    Failures count together with those of wrong signatures. A temporary key is refused like one that does not exist: it
    needs its token, too.
    """
    signer = find_signer(control, access_key)
    if signer is not None and signer.token_digest:
        signer = None
    subject = (access_key, sender_of(control.caller.address))
    lockouts = control.invented_lockouts if signer is None else control.key_lockouts
    who = access_key[:64]
    if lockouts.is_locked(subject, control.clock):
        raise Unauthenticated(_LOCKED, who=who)
    known = secrets.token_hex(20) if signer is None else signer.secret_key
    is_right = hmac.compare_digest(known.encode(), secret_key.encode("utf-8", "surrogatepass"))
    if signer is None or not is_right:
        lockouts.failed(subject, control.clock)
        raise Unauthenticated(_WRONG_KEY, who=who)
    lockouts.succeeded(subject)
    return signer.caller


@cache
def _nobody() -> str:
    """Return the hash that a password is compared with if there is no user."""
    return passwords.hash_password(secrets.token_hex(16))
