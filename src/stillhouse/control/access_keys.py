"""Access keys: the pairs that sign requests, each acting for one project."""

import re
import secrets
import string

from stillhouse.catalog import secrets as stored
from stillhouse.catalog.secrets import AccessKey
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.domain.ids import is_project_id
from stillhouse.errors import InvalidInput, NotFound

__all__ = ["AccessKey", "create_access_key", "disable_access_key", "find_access_key"]

_ACCESS_KEY = re.compile(r"[A-Z0-9]{20}")


def create_access_key(control: Control, project: str) -> AccessKey:
    """A new pair. The secret is shown here once; the catalog keeps it sealed."""
    key = AccessKey(
        access_key=_random(string.ascii_uppercase + string.digits, 20),
        secret_key=_random(string.ascii_letters + string.digits, 40),
        project=project,
    )
    with audited(control, project, "CreateAccessKey", key.access_key) as transaction:
        if not is_project_id(project):
            raise InvalidInput("a project id is 32 lower-case hexadecimal digits")
        stored.insert_access_key(transaction, control.sealer, key, control.clock.now())
    return key


def find_access_key(control: Control, access_key: str) -> AccessKey | None:
    """The pair a request names, unless it is unknown or disabled."""
    # What does not even look like one may hold characters no database takes.
    if not _ACCESS_KEY.fullmatch(access_key):
        return None
    with control.database.reading() as reading:
        return stored.find_access_key(reading, control.sealer, access_key)


def disable_access_key(control: Control, project: str, access_key: str) -> None:
    with audited(control, project, "DisableAccessKey", access_key) as transaction:
        known = _ACCESS_KEY.fullmatch(access_key) is not None
        if not known or not stored.disable_access_key(transaction, project, access_key, control.clock.now()):
            raise NotFound("the project has no such access key in use")


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
