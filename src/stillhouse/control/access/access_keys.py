"""Access keys: the pairs that sign requests, each acting for one project."""

import secrets
import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from stillhouse.catalog.access import access_keys
from stillhouse.catalog.access.access_keys import AccessKey, KeyFacts
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.access import permissions
from stillhouse.control.audit import audited
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.domain.access.permissions import FULL_ACCESS
from stillhouse.domain.access.policy_document import Attached
from stillhouse.domain.ids import ACCESS_KEY, is_project_id
from stillhouse.errors import Conflict, InvalidInput, NotFound

__all__ = [
    "AccessKey",
    "KeyFacts",
    "create_access_key",
    "disable_access_key",
    "list_access_keys",
    "new_pair",
    "rotate_access_key",
]


def create_access_key(
    context: CatalogContext, project: str, policies: Sequence[Attached] = (FULL_ACCESS,)
) -> AccessKey:
    """Make a new pair. The secret is shown here once; the catalog keeps it sealed."""
    key = AccessKey(*new_pair(), project=project, policies=tuple(policies))
    with audited(context, project, "CreateAccessKey", key.access_key) as transaction:
        if not is_project_id(project):
            raise InvalidInput("a project id is 32 lower-case hexadecimal digits")
        permissions.check_attached(transaction, policies)
        access_keys.insert_access_key(transaction, context.sealer, key, context.clock.now())
    return key


def list_access_keys(context: CatalogContext, project: str = "") -> list[KeyFacts]:
    """List the project's keys, or those of all projects, without their secrets; the oldest first."""
    with context.database.reading() as reading:
        return access_keys.list_access_keys(reading, project)


def disable_access_key(context: CatalogContext, project: str, access_key: str) -> None:
    """Disable the key for good, and with it the temporary keys made by it."""
    with audited(context, project, "DisableAccessKey", access_key) as transaction:
        known = ACCESS_KEY.fullmatch(access_key) is not None
        if not known or not access_keys.disable_access_key(
            transaction, project, access_key, context.clock.now()
        ):
            raise NotFound("the project has no such access key in use")


def rotate_access_key(
    context: CatalogContext, project: str, access_key: str, overlap: timedelta
) -> tuple[AccessKey, AccessKey]:
    """Make a new pair with the old one's policies, and return both. The old pair ends after the overlap.

    Raises NotFound, or Conflict if the old pair's end is set already: a caller who lost the new pair makes another.
    """
    with audited(context, project, "RotateAccessKey", access_key) as transaction:
        now = context.clock.now()
        old = _in_use(transaction, context, project, access_key)
        if overlap < timedelta(0):
            raise InvalidInput("an overlap cannot be negative")
        old = replace(old, expires=now + overlap)
        assert old.expires is not None
        if not access_keys.let_access_key_end(transaction, access_key, now, old.expires):
            raise Conflict(
                "the access key was rotated before", hint="rotate its successor, or make a new key"
            )
        new = AccessKey(*new_pair(), project=project, policies=old.policies)
        access_keys.insert_access_key(transaction, context.sealer, new, now)
    return new, old


def new_pair() -> tuple[str, str]:
    """Draw an access key and its secret, in the shape of the cloud's keys."""
    return (
        _random(string.ascii_uppercase + string.digits, 20),
        _random(string.ascii_letters + string.digits, 40),
    )


def _in_use(transaction: Transaction, context: CatalogContext, project: str, access_key: str) -> AccessKey:
    now = context.clock.now()
    if ACCESS_KEY.fullmatch(access_key):
        key = access_keys.find_access_key(transaction, context.sealer, access_key, now)
        if key is not None and key.project == project:
            return key
    raise NotFound("the project has no such access key in use")


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
