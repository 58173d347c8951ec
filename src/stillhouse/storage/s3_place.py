"""The place of a repository in an S3 service, as its URL says it: bucket, prefix, and how objects are stored there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from stillhouse.errors import InvalidInput
from stillhouse.storage.store import check_key

Lock = Literal["", "GOVERNANCE", "COMPLIANCE"]

_FORM = (
    "give s3://bucket/prefix, and behind a ? those of addressing, storage_class, object_lock and lock_days"
)
_PARAMETERS = ("addressing", "storage_class", "object_lock", "lock_days")
_MOST_DAYS = 36_500  # S3's own bound, a hundred years


@dataclass(frozen=True, slots=True)
class S3Place:
    """`is_virtual`: the bucket is part of the host's name, not of the path. `lock` is empty where nothing is locked."""

    bucket: str
    prefix: str = ""
    is_virtual: bool = False
    storage_class: str = ""
    lock: Lock = ""
    lock_for: timedelta = timedelta()

    @property
    def name(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def place_of(text: str) -> S3Place:
    """Read an S3 URL. Its parameters go where the URL goes: into captures, commands, and a copy's second store."""
    url = urlsplit(text)
    prefix = url.path.strip("/")
    if not url.netloc or url.fragment:
        raise InvalidInput(f"not an S3 location: {text}", hint=_FORM)
    given = _parameters(text, url.query)
    lock, lock_for = _lock(text, given)
    return S3Place(
        url.netloc,
        check_key(prefix) if prefix else "",
        _choice(text, given, "addressing", "path", "virtual") == "virtual",
        given.get("storage_class", ""),
        lock,
        lock_for,
    )


def _parameters(text: str, query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    unknown = [name for name in given if name not in _PARAMETERS]
    if unknown or len(given) != len(pairs):
        raise InvalidInput(f"not an S3 location: {text}: {', '.join(unknown) or 'a name twice'}", hint=_FORM)
    if empty := [name for name, value in given.items() if not value]:
        raise InvalidInput(f"{text}: {empty[0]} has no value", hint=_FORM)
    if not given.get("storage_class", "A").replace("_", "").isalnum():  # it becomes a header
        raise InvalidInput(f"{text}: storage_class is not a name", hint="for example STANDARD_IA")
    return given


def _lock(text: str, given: Mapping[str, str]) -> tuple[Lock, timedelta]:
    if ("object_lock" in given) != ("lock_days" in given):
        raise InvalidInput(f"{text}: object_lock and lock_days are given together or not at all", hint=_FORM)
    if "object_lock" not in given:
        return "", timedelta()
    days = given["lock_days"]
    if not (days.isascii() and days.isdigit() and 1 <= int(days[:6]) <= _MOST_DAYS and len(days) <= 5):
        raise InvalidInput(f"{text}: lock_days is a whole number from 1 to {_MOST_DAYS}", hint=_FORM)
    mode = _choice(text, given, "object_lock", "GOVERNANCE", "COMPLIANCE")
    return ("COMPLIANCE" if mode == "COMPLIANCE" else "GOVERNANCE"), timedelta(days=int(days))


def _choice(text: str, given: Mapping[str, str], name: str, *choices: str) -> str:
    """Return the value of that name; the first choice if it is not given."""
    value = given.get(name, choices[0])
    if value not in choices:
        raise InvalidInput(f"{text}: {name} is {' or '.join(choices)}", hint=_FORM)
    return value
