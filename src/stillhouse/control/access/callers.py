"""Find the caller that a request's credentials belong to, with the permissions that hold at this moment."""

from functools import partial

from stillhouse.catalog.access import access_keys, users
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.access import permissions
from stillhouse.control.access.credentials import digest
from stillhouse.control.catalog_context import Caller
from stillhouse.control.context import Control, Signer
from stillhouse.domain.access import policy_document
from stillhouse.domain.access.permissions import Permissions
from stillhouse.domain.access.policy_document import Attached
from stillhouse.domain.access.users import User
from stillhouse.domain.ids import ACCESS_KEY
from stillhouse.errors import TokenExpired, Unauthenticated


def find_signer(control: Control, access_key: str) -> Signer | None:
    """Find the holder of an access key or temporary key; `None` if it is unknown, disabled or past its end."""
    # A text that does not look like a key may hold characters that no database takes.
    if not ACCESS_KEY.fullmatch(access_key):
        return None
    version = control.access_version
    signer = control.signers.find(version, access_key, partial(_lasting_signer, control, access_key))
    if signer is None:
        with control.database.reading() as reading:
            return _temporary_signer(control, reading, access_key)
    return None if signer.expires and control.clock.now() >= signer.expires else signer


def find_token_holder(control: Control, token: str) -> Caller:
    """Find the user that the token was given to. Raises Unauthenticated, or TokenExpired."""
    with control.database.reading() as reading:
        found = users.find_token(reading, digest(token))
        user = None if found is None else users.find_user(reading, found.user_id)
        if found is None or user is None:
            raise Unauthenticated("Incorrect IAM authentication information: decrypt token fail")
        who = f"user/{user.name}"
        if control.clock.now() >= found.expires:
            raise TokenExpired("The token must be updated.", who=who)
        return _caller_of(reading, user)


def find_subject(control: Control, subject: str) -> Caller | None:
    """Find the holder of an access key, or the user of this id; `None` if it is unknown, disabled or past its end."""
    if ACCESS_KEY.fullmatch(subject):
        signer = find_signer(control, subject)
        return None if signer is None else signer.caller
    with control.database.reading() as reading:
        user = users.find_user(reading, subject)
        return None if user is None else _caller_of(reading, user)


def _caller_of(reading: Transaction, user: User) -> Caller:
    granted = Permissions((permissions.resolve(reading, user.policies),))
    return Caller(f"user/{user.name}", project=user.project, subject=user.id, permissions=granted)


def _lasting_signer(control: Control, access_key: str) -> Signer | None:
    with control.database.reading() as reading:
        key = access_keys.find_access_key(reading, control.sealer, access_key, control.clock.now())
        if key is None:
            return None
        granted = Permissions((permissions.resolve(reading, key.policies),))
    caller = Caller(access_key, project=key.project, subject=access_key, permissions=granted)
    return Signer(caller, key.secret_key, expires=key.expires)


def _temporary_signer(control: Control, reading: Transaction, access_key: str) -> Signer | None:
    key = access_keys.find_temporary_key(reading, control.sealer, access_key, control.clock.now())
    of_parent = None if key is None else _policies_of(control, reading, key.parent)
    if key is None or of_parent is None:
        return None
    grants = [permissions.resolve(reading, of_parent)]
    if key.narrowed_to:
        grants.append((policy_document.read(key.narrowed_to),))
    caller = Caller(access_key, project=key.project, permissions=Permissions(tuple(grants)))
    return Signer(caller, key.secret_key, key.token_digest)


def _policies_of(control: Control, reading: Transaction, parent: str) -> tuple[Attached, ...] | None:
    """Return the policies of the access key or the user; `None` if the key or user is no longer good."""
    key = access_keys.find_access_key(reading, control.sealer, parent, control.clock.now())
    if key is not None:
        return key.policies
    user = users.find_user(reading, parent)
    return None if user is None else user.policies
