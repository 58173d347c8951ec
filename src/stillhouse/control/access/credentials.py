"""Temporary keys and tokens. They are made for a known caller, and end when the caller is disabled."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from stillhouse.catalog.access import access_keys, users
from stillhouse.catalog.access.access_keys import TemporaryKey
from stillhouse.control.access.access_keys import new_pair
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.domain.access import policy_document
from stillhouse.domain.access.users import Token, User
from stillhouse.errors import InvalidInput, NotPermitted

TOKEN_LIFE = timedelta(hours=24)
_SHORTEST, _LONGEST = timedelta(minutes=15), timedelta(hours=24)


@dataclass(frozen=True)
class Issued:
    """A temporary key with its token, which is shown this once."""

    key: TemporaryKey
    security_token: str = field(repr=False)


def make_temporary_key(
    control: Control, life: timedelta, narrowed_to: dict[str, Any] | None = None
) -> Issued:
    """Make a key with the caller's own permissions, or with the part of them that the policy document allows.

    Raises InvalidInput, or NotPermitted for a caller who has a temporary key only: a chain of them
    would outlive the first one's end.
    """
    caller = control.caller
    if not caller.subject:
        raise NotPermitted("A temporary key cannot make another.")
    token = secrets.token_urlsafe(48)
    access_key, secret_key = new_pair()
    with audited(control, caller.project, "CreateTemporaryAccessKey", access_key) as transaction:
        if not _SHORTEST <= life <= _LONGEST:
            raise InvalidInput("duration_seconds must be between 900 and 86400")
        if narrowed_to is not None:
            policy_document.decode(json.dumps(narrowed_to))
        now = control.clock.now()
        key = TemporaryKey(
            access_key=access_key,
            secret_key=secret_key,
            token_digest=digest(token),
            project=caller.project,
            parent=caller.subject,
            expires=now + life,
            narrowed_to=narrowed_to or {},
        )
        access_keys.insert_temporary_key(transaction, control.sealer, key, now)
    return Issued(key, token)


def make_token(control: Control, user: User) -> tuple[str, Token]:
    """Make a token that acts as the user for a day. Only its digest is kept."""
    token = secrets.token_urlsafe(48)
    with audited(control, user.project, "CreateToken", f"user/{user.name}") as transaction:
        now = control.clock.now()
        made = Token(user.id, issued=now, expires=now + TOKEN_LIFE)
        users.insert_token(transaction, digest(token), made)
    return token, made


def digest(token: str) -> str:
    """Hash a token. Tokens have 384 random bits, so a plain hash gives nothing away."""
    return hashlib.sha256(token.encode()).hexdigest()
