"""The keys that sign requests to S3: where they come from, which is told before a request waits for them in vain."""

import socket
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as NoConfig
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stillhouse.errors import StoreRefused

if TYPE_CHECKING:
    from obstore.store import S3Credential  # not there at run time

_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_FILE, _PROFILE = "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE"
_FULL_URI, _TOKEN_FILE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
# Each of these makes obstore ask another source than the keys (object_store's Rust source, aws/builder.rs), and renew
# what it got five minutes before its end.
_OTHER_SOURCES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    _FULL_URI,
    "AWS_SKIP_SIGNATURE",
)
# Where Amazon's machines, and no others, learn the keys of their role.
_METADATA_SERVICE = "http://169.254.169.254"
_METADATA_SECONDS = 1.0
_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the service's environment, or AWS_SHARED_CREDENTIALS_FILE to a"
    " file with a section of them"
)
# obstore asks again five minutes before the end: so the file is read once a minute while requests are made.
_GOOD_FOR = timedelta(minutes=6)


@dataclass(frozen=True)
class KeysFile:
    """A section of a file of keys, as Amazon's tools write it; read again and again, since others renew it."""

    name: str
    path: Path
    section: str

    def __call__(self) -> "S3Credential":
        found = self._read()
        lacking = [key for key in map(str.lower, _PAIR) if not found.get(key)]
        if lacking:
            raise StoreRefused(
                f"{self.name}: section [{self.section}] of {self.path} has no {lacking[0]}", hint=_HINT
            )
        return {
            "access_key_id": found["aws_access_key_id"],
            "secret_access_key": found["aws_secret_access_key"],
            "token": found.get("aws_session_token") or None,
            "expires_at": datetime.now(UTC) + _GOOD_FOR,
        }

    def _read(self) -> Mapping[str, str]:
        parser = ConfigParser(interpolation=None, default_section="")
        try:
            parser.read_string(self.path.read_text())
            return parser[self.section]
        except (OSError, UnicodeDecodeError, NoConfig, KeyError) as error:
            raise StoreRefused(
                f"{self.name}: no keys in section [{self.section}] of {self.path}: {_why(error)}",
                hint=f"{_FILE} names the file, {_PROFILE} its section",
            ) from error


def source(name: str, endpoint: str, environment: Mapping[str, str]) -> KeysFile | None:
    """Return the file of keys for the store of this name; `None` if obstore finds keys by itself.

    Raises StoreRefused if there is no source at all. `endpoint` is empty for Amazon's own; only there a machine may
    have a role, whose keys it asks for.
    """
    lacking = [variable for variable in _PAIR if not environment.get(variable)]
    if len(lacking) == 1:
        raise StoreRefused(f"{name}: {lacking[0]} is not set", hint=_HINT)
    if not lacking:
        return None
    if environment.get(_FILE) or environment.get(_PROFILE):
        return _keys_file(name, environment)
    if environment.get(_FULL_URI) and not environment.get(_TOKEN_FILE):
        raise StoreRefused(f"{name}: {_FULL_URI} is set, and {_TOKEN_FILE} is not", hint="set both")
    if any(environment.get(variable) for variable in _OTHER_SOURCES):
        return None
    of_tools = _keys_file(name, environment)
    if of_tools.path.exists():
        return of_tools
    if endpoint and ".amazonaws.com" not in endpoint:
        raise StoreRefused(f"{name}: no access key is set for {endpoint}", hint=_HINT)
    if not _answers(environment.get("AWS_METADATA_ENDPOINT") or _METADATA_SERVICE):
        raise StoreRefused(
            f"{name}: no access key is set, and this machine has no role at Amazon", hint=_HINT
        )
    return None


def _keys_file(name: str, environment: Mapping[str, str]) -> KeysFile:
    path = Path(environment.get(_FILE) or Path(environment.get("HOME", "")) / ".aws" / "credentials")
    return KeysFile(name, path, environment.get(_PROFILE) or "default")


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    return "there is no such section" if isinstance(error, KeyError) else "it is not such a file"


def _answers(url: str) -> bool:
    place = urlsplit(url)
    try:
        with socket.create_connection((place.hostname or "", place.port or 80), _METADATA_SECONDS):
            return True
    except OSError:
        return False
